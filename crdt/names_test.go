package crdt_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
)

// Every register that can be made of the longest names has a valid name, and so
// has the conflict record of an op on it.
func TestLongestNamesFit(t *testing.T) {
	plain := crdt.Field(strings.Repeat("f", crdt.PlainFieldBytesMax))
	name := strings.Repeat("n", crdt.NameBytesMax)
	author := crdt.Author{Site: crdt.Site(name), Agent: crdt.AgentName(name), Incarnation: 1<<64 - 1}
	longest := 0
	for _, f := range []crdt.Field{
		plain,
		crdt.FieldLife,
		crdt.ElementField("helpdesk", plain, "urgent"),
		crdt.ShareField(plain, author),
		crdt.StartField(plain),
		crdt.LinkField(author.Site, name),
		crdt.Field(strings.Repeat("x", crdt.OpFieldBytesMax)),
	} {
		longest = max(longest, len(f))
		op := crdttest.Op(1, "acme", 1, "")
		op.Key.Field = f
		if err := op.Validate(); err != nil {
			t.Errorf("%d bytes: %v", len(f), err)
		}
		lost := crdt.LostField(f, op.Digest())
		if _, err := crdt.ParseField(string(lost)); err != nil {
			t.Errorf("conflict record of %d bytes: %v", len(lost), err)
		}
		if of, ok := lost.LostOf(); !ok || of != f {
			t.Errorf("the record of %s is read as one of %s", f, of)
		}
	}
	if longest != crdt.OpFieldBytesMax || len(crdt.LostField(crdt.Field(strings.Repeat("x", longest)), crdt.Digest{})) != crdt.FieldBytesMax {
		t.Errorf("the limits don't meet: %d", longest)
	}
	op := crdttest.Op(1, "acme", 1, "")
	op.Key.Field = crdt.Field(strings.Repeat("x", crdt.OpFieldBytesMax+1))
	if op.Validate() == nil {
		t.Error("an op is valid whose conflict record has no name")
	}
}

// No register's name is read as two kinds.
func TestKindsOfRegistersAreDisjoint(t *testing.T) {
	author := crdt.Author{Site: "acme", Agent: "one", Incarnation: 3}
	element := crdt.ElementField("helpdesk", "labels", "urgent")
	share, start := crdt.ShareField("stock", author), crdt.StartField("stock")
	link, lost := crdt.LinkField("acme", "redmine"), crdt.LostField(element, crdt.Digest{7})
	lostShare, lostStart := crdt.LostField(share, crdt.Digest{7}), crdt.LostField(start, crdt.Digest{7})
	kinds := func(f crdt.Field) (is []string) {
		if _, ok := f.ElementOf(); ok {
			is = append(is, "element")
		}
		if _, _, ok := f.ShareOf(); ok {
			is = append(is, "share")
		}
		if _, ok := f.StartOf(); ok {
			is = append(is, "start")
		}
		if _, _, ok := f.LinkOf(); ok {
			is = append(is, "link")
		}
		if _, ok := f.LostOf(); ok {
			is = append(is, "lost")
		}
		return is
	}
	want := map[crdt.Field]string{
		"title": "", crdt.FieldLife: "", element: "element", share: "share", start: "start", link: "link",
		lost: "lost", lostShare: "lost", lostStart: "lost", "~link/acme": "", "~lost/title": "", "~lost/": "", "/x": "",
		"stock/acme/one/03": "", "stock/acme/one/0": "", "/~start": "", "~link/acme/redmine/x": "",
	}
	for f, kind := range want {
		if got := strings.Join(kinds(f), " "); got != kind {
			t.Errorf("%s: %q, want %q", f, got, kind)
		}
	}
	if site, system, ok := link.LinkOf(); !ok || site != "acme" || system != "redmine" {
		t.Errorf("%s: %s, %s", link, site, system)
	}
	if _, a, ok := share.ShareOf(); !ok || a != author {
		t.Errorf("%s: %s", share, a)
	}
}

func TestNamesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := crdttest.WideOps().Draw(t, "op").Author
		if back, err := crdt.ParseAuthor(a.String()); err != nil || back != a {
			t.Fatalf("%s: %s, %v", a, back, err)
		}
		var id crdt.RecordID
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		if back, err := crdt.ParseRecordID(id.String()); err != nil || back != id {
			t.Fatalf("%s: %s, %v", id, back, err)
		}
	})
	for _, bad := range []string{"", "acme", "acme/one", "acme/one/0", "acme/one/x", "acme/one/1/2", "Acme/one/1", "/one/1"} {
		if a, err := crdt.ParseAuthor(bad); err == nil {
			t.Errorf("%q was read as %s", bad, a)
		}
	}
	for _, bad := range []string{"", "aa", strings.Repeat("g", 32), strings.Repeat("a", 34)} {
		if id, err := crdt.ParseRecordID(bad); err == nil {
			t.Errorf("%q was read as %s", bad, id)
		}
	}
}

func TestKeysOfOneRecordAreNeighbours(t *testing.T) {
	k := crdttest.Key()
	other := k
	other.Record[15]++
	if !(k.Sibling("a").Compare(k.Sibling("b")) < 0 && k.Sibling("z").Compare(other.Sibling("a")) < 0) {
		t.Error("a record's registers are torn apart")
	}
	if k.Compare(k) != 0 || other.Compare(k) != 1 {
		t.Error("keys don't order")
	}
}
