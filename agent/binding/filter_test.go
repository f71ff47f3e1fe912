package binding_test

import (
	"errors"
	"testing"

	"github.com/entente-sync/entente/agent/binding"
	"github.com/entente-sync/entente/crdt/value"
)

func TestFilter(t *testing.T) {
	f, err := binding.NewFilter(`it.status in ["New", "Open"]`)
	if err != nil {
		t.Fatal(err)
	}
	for status, want := range map[string]bool{"New": true, "Closed": false} {
		if got, p := f.Passes(map[string]value.Value{"status": value.Text(status)}); got != want || p != nil {
			t.Errorf("%s passes %v (%v)", status, got, p)
		}
	}
	if got, p := f.Passes(map[string]value.Value{}); got || p == nil || p.Code != binding.CodeExpression {
		t.Errorf("a record without the field: %v, %+v", got, p)
	}
	for _, bad := range []string{"it.status ==", `"text"`, ""} {
		if _, err := binding.NewFilter(bad); !errors.Is(err, binding.ErrFilter) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
