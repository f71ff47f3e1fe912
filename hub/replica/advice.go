package replica

import (
	"errors"
	"fmt"

	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/hub/store"
)

// replaceable are causes after which a node's directory is not to be used again.
var replaceable = []error{store.ErrDamaged, ErrLogCorrupt, ErrSnapshotCorrupt, ErrStateLost, ErrDiverged}

// advise adds what an operator does about err, if the node's directory is past
// use. It must not be emptied and started again: a voter that begins with nothing
// under its old name has forgotten whom it voted for and what it acknowledged, so two
// leaders of one term could each find a majority.
func advise(node string, err error) error {
	for _, cause := range replaceable {
		if errors.Is(err, cause) {
			return fmt.Errorf("%w\n  lost: nothing, while a majority of the other nodes is whole\n"+
				"  next: keep this directory; do not empty it and start %s again, it would have forgotten its votes; "+
				"at another node: entente hub replace %s --by NEW -f FILE", err, node, node)
		}
	}
	if errors.Is(err, state.ErrTorn) {
		return fmt.Errorf("%w\n  lost: nothing: the entry is in the log, and its effects were not stored\n"+
			"  next: start %s again, which applies the entry anew; if it stops there again, keep this directory, report this text, "+
			"and at another node: entente hub replace %s --by NEW -f FILE", err, node, node)
	}
	return err
}
