package crdt_test

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
	"github.com/entente-sync/entente/crdt/value"
)

// The hash of an element names its register in every log: it never changes.
func TestElementFieldIsPinned(t *testing.T) {
	const want = "labels/337eddb6526deba98364c3546e4ce020"
	if got := crdt.ElementField("helpdesk", "labels", "urgent"); got != want {
		t.Errorf("got %s", got)
	}
	names := map[crdt.Field]bool{}
	for _, f := range []crdt.Field{
		crdt.ElementField("helpdesk", "labels", "urgent"), crdt.ElementField("other", "labels", "urgent"),
		crdt.ElementField("helpdesk", "labels", "Urgent"), crdt.ElementField("helpdesk", "labels", ""),
		crdt.ElementField("helpdes", "klabels", "urgent"),
	} {
		names[f] = true
		if _, err := crdt.ParseField(string(f)); err != nil {
			t.Error(err)
		}
	}
	if len(names) != 5 {
		t.Errorf("different elements share a register: %v", names)
	}
}

func TestElementValue(t *testing.T) {
	k := crdttest.Key().Sibling(crdt.ElementField("helpdesk", "labels", "urgent"))
	if e, in, err := crdt.ElementValue(k, crdt.Present("urgent")); err != nil || !in || e != "urgent" {
		t.Errorf("present: %q, %v, %v", e, in, err)
	}
	if _, in, err := crdt.ElementValue(k, crdt.Absent()); err != nil || in {
		t.Errorf("absent: %v, %v", in, err)
	}
	for name, v := range map[string]value.Value{"another element": crdt.Present("later"), "number": value.Int(1)} {
		if _, _, err := crdt.ElementValue(k, v); !errors.Is(err, crdt.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := crdt.ElementValue(crdttest.Key(), crdt.Absent()); !errors.Is(err, crdt.ErrMalformed) {
		t.Errorf("plain field: %v", err)
	}
}

func TestSetChangeLeadsFromOneToTheOther(t *testing.T) {
	some := rapid.SliceOf(rapid.SampledFrom([]string{"", "a", "b", "c", "d"}))
	rapid.Check(t, func(t *rapid.T) {
		from, to := some.Draw(t, "from"), some.Draw(t, "to")
		added, removed := crdt.SetChange(from, to)
		got := map[string]bool{}
		for _, e := range from {
			got[e] = true
		}
		for _, e := range removed {
			if !got[e] {
				t.Fatalf("%q was never there", e)
			}
			delete(got, e)
		}
		for _, e := range added {
			if got[e] {
				t.Fatalf("%q was there already", e)
			}
			got[e] = true
		}
		for e := range got {
			if !slices.Contains(to, e) {
				t.Fatalf("%q remains", e)
			}
		}
		for _, e := range to {
			if !got[e] {
				t.Fatalf("%q is missing", e)
			}
		}
	})
}
