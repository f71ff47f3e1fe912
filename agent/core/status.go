package core

import (
	"github.com/entente-sync/entente/agent/shadow"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/agent/store/pack"
	"github.com/entente-sync/entente/connectors"
)

// SystemStatus counts what one system waits for.
type SystemStatus struct {
	Linked  int // records tied to a local key
	Reads   int // records to look at, now or later
	Intents int // writes that are not settled
	InDoubt int // of these, writes that may have happened
}

// SourceCursor is where the listing of a system goes on.
func SourceCursor(tx store.Tx, system string) (connectors.Cursor, error) {
	st, err := systemOf(tx, system)
	return st.Cursor, err
}

// StatusOf counts what a system waits for. It reads every row that it counts.
func StatusOf(tx store.Tx, system string) (st SystemStatus, err error) {
	if st.Linked, err = shadow.Count(tx, system); err != nil {
		return st, err
	}
	err = tx.Scan(pack.Key(tableWork, system), nil, func(_, _ []byte) error {
		st.Reads++
		return nil
	})
	if err != nil {
		return st, err
	}
	err = tx.Scan(pack.Key(tableIntent, system), nil, func(_, b []byte) error {
		in, err := decodeIntent(b)
		if err != nil {
			return err
		}
		st.Intents++
		if in.State == stateDoubt || in.State == stateFinding {
			st.InDoubt++
		}
		return nil
	})
	return st, err
}
