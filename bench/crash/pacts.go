package crash

import (
	"fmt"
	"strings"

	"github.com/entente-sync/entente/bench/crash/load"
	"github.com/entente-sync/entente/crdt"
)

// agreed is one pact of the proof.
type agreed struct {
	name  crdt.Pact
	words load.Words
}

// pacts: two, with two members in common.
func pacts() []agreed {
	return []agreed{
		{"tickets", load.Words{
			Type: "ticket", Fields: []crdt.Field{"title", "note", "owner"}, Sites: []crdt.Site{"acme", "globex", "initech"},
			Records: 20, Guarded: "price", Owner: "acme",
		}},
		{"stock", load.Words{
			Type: "item", Fields: []crdt.Field{"title", "place"}, Sites: []crdt.Site{"globex", "initech", "umbrella"},
			Records: 12, Guarded: "price", Owner: "umbrella",
		}},
	}
}

func member(pact crdt.Pact) crdt.Site {
	for _, p := range pacts() {
		if p.name == pact {
			return p.words.Sites[0]
		}
	}
	return ""
}

// pactTexts are the files.
func pactTexts() []string {
	var out []string
	for _, p := range pacts() {
		var b strings.Builder
		var sites []string
		for _, s := range p.words.Sites {
			sites = append(sites, string(s))
		}
		fmt.Fprintf(&b, "apiVersion: entente/v1\nkind: Pact\nmetadata: {name: %s, version: 1}\n", p.name)
		fmt.Fprintf(&b, "members: [%s]\nrecord: %s\ndelete: {grant: []}\nfields:\n", strings.Join(sites, ", "), p.words.Type)
		for _, f := range p.words.Fields {
			fmt.Fprintf(&b, "  %s: {type: text, max: 1000}\n", f)
		}
		fmt.Fprintf(&b, "  %s: {type: text, max: 1000, writers: [%s]}\n", p.words.Guarded, p.words.Owner)
		out = append(out, b.String())
	}
	return out
}
