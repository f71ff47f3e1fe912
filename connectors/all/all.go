// Package all is the one explicit list of the connectors that a user may name.
package all

import (
	"fmt"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/redmine"
	"github.com/entente-sync/entente/connectors/rt"
	"github.com/entente-sync/entente/connectors/sandbox"
)

// Specs returns the connectors by name. An error is a mistake in this program:
// refuse to start.
func Specs() (map[string]connectors.Spec, error) {
	return index(
		redmine.Spec(),
		rt.Spec(),
		sandbox.Spec(),
	)
}

// index refuses what could not be opened or told apart.
func index(list ...connectors.Spec) (map[string]connectors.Spec, error) {
	specs := make(map[string]connectors.Spec, len(list))
	for i, s := range list {
		switch {
		case s.Name == "":
			return nil, fmt.Errorf("connector %d of the list has no name", i)
		case s.Open == nil:
			return nil, fmt.Errorf("connector %s has no constructor", s.Name)
		}
		if _, twice := specs[s.Name]; twice {
			return nil, fmt.Errorf("connector %s is listed twice", s.Name)
		}
		specs[s.Name] = s
	}
	return specs, nil
}
