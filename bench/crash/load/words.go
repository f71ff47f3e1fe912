package load

import (
	"fmt"
	"math/rand/v2"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

// Words is what a pact's publishers write about.
type Words struct {
	Type    crdt.Type
	Fields  []crdt.Field
	Sites   []crdt.Site
	Records int // of each site
	// Guarded is a field that only Owner may write.
	Guarded crdt.Field
	Owner   crdt.Site
}

// word is one write.
type word struct {
	record    crdt.RecordID
	field     crdt.Field
	value     []byte
	forbidden bool
}

// draw chooses mostly a record of the site's own, so that most edits do not meet.
func (w *Words) draw(draw *rand.Rand, site crdt.Site) word {
	of := site
	if draw.IntN(5) == 0 {
		of = w.Sites[draw.IntN(len(w.Sites))]
	}
	n := draw.IntN(w.Records)
	out := word{record: crdt.RecordID{0: byte(n), 1: byte(n >> 8)}, field: w.Fields[draw.IntN(len(w.Fields))]}
	copy(out.record[2:], of)
	if draw.IntN(40) == 0 {
		out.field = w.Guarded
		out.forbidden = site != w.Owner
	}
	text := fmt.Sprintf("%s %d ", out.field, draw.Uint64())
	for range draw.IntN(6) {
		text += "and something more to carry "
	}
	out.value = crdt.Plain(value.Text(text))
	return out
}
