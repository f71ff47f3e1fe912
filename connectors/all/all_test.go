package all

import (
	"testing"

	"github.com/entente-sync/entente/connectors"
)

func TestSpecs(t *testing.T) {
	specs, err := Specs()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"redmine", "rt", "sandbox"} {
		if _, ok := specs[name]; ok {
			continue
		}
		t.Errorf("%s is missing", name)
	}
	for name, s := range specs {
		if name != s.Name {
			t.Errorf("%s is listed as %s", s.Name, name)
		}
		// Open must not dial, and must check: no connector works without an address.
		if _, err := s.Open(connectors.Settings{Name: "x"}); connectors.ClassOf(err) != connectors.ClassInvalid {
			t.Errorf("%s opens without an address: %v", name, err)
		}
	}
}

func TestIndexRefuses(t *testing.T) {
	open := func(connectors.Settings) (connectors.Connector, error) { return nil, nil }
	good := connectors.Spec{Name: "a", Open: open}
	for name, list := range map[string][]connectors.Spec{
		"no name":        {{Open: open}},
		"no constructor": {good, {Name: "b"}},
		"twice":          {good, good},
	} {
		if _, err := index(list...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
