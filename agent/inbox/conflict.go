package inbox

import (
	"fmt"

	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/agent/store/pack"
	"github.com/entente-sync/entente/crdt"
)

// Open calls fn for each open conflict record of a pact in order of type, record
// and field, until fn returns store.ErrStop.
func Open(tx store.Tx, pact crdt.Pact, fn func(crdt.Register) error) error {
	return tx.Scan(pack.Key(tableConflict, string(pact)), nil, func(key, _ []byte) error {
		parts, err := pack.Parts(key, 4)
		if err != nil {
			return err
		}
		if len(parts[2]) != len(crdt.RecordID{}) {
			return fmt.Errorf("conflict index: %w", pack.ErrCorrupt)
		}
		r, err := Register(tx, crdt.Key{
			Pact: crdt.Pact(parts[0]), Type: crdt.Type(parts[1]),
			Record: crdt.RecordID([]byte(parts[2])), Field: crdt.Field(parts[3]),
		})
		if err != nil {
			return err
		}
		return fn(r)
	})
}
