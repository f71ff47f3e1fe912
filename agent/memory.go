package agent

import (
	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/inbox"
	"github.com/entente-sync/entente/agent/outbox"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// The hub tells of as many incarnations as the core counts on.
var _ = [1]struct{}{}[core.AuthorsTold-wire.AuthorsTold]

// memory reads from the store what the loops need.
type memory struct{ store store.Store }

// Incarnation implements uplink.Memory.
func (m memory) Incarnation() (n uint64, err error) {
	err = m.store.View(func(tx store.Tx) error {
		n, err = core.Incarnation(tx)
		return err
	})
	return n, err
}

// FeedCursor implements uplink.Memory.
func (m memory) FeedCursor(pact crdt.Pact) (at crdt.Position, err error) {
	err = m.store.View(func(tx store.Tx) error {
		feed, err := inbox.GetFeed(tx, pact)
		at = feed.Cursor()
		return err
	})
	return at, err
}

// Pending implements uplink.Memory: a run without gaps, since one batch names
// one predecessor.
func (m memory) Pending(pact crdt.Pact, from uint64, opsMax, bytesMax int) (after crdt.OpID, ops []crdt.Op, next uint64, err error) {
	err = m.store.View(func(tx store.Tx) error {
		if open, err := core.Offering(tx, pact); err != nil || open {
			return err // what older epochs had comes first
		}
		entries, err := outbox.Batch(tx, pact, from, opsMax)
		bytes := 0
		for i := range entries {
			e := &entries[i]
			bytes += wire.OpBytes(&e.Op)
			if i > 0 && (bytes > bytesMax || e.After != ops[i-1].ID()) {
				break
			}
			if i == 0 {
				after = e.After
			}
			ops, next = append(ops, e.Op), e.Position+1
		}
		return err
	})
	return after, ops, next, err
}

// NextOffer implements uplink.Memory.
func (m memory) NextOffer(pact crdt.Pact) (part core.OfferPart, open bool, err error) {
	err = m.store.View(func(tx store.Tx) error {
		part, open, err = core.NextOffer(tx, pact, wire.BatchOpsMax, wire.BatchBytesMax, wire.OpBytes)
		return err
	})
	return part, open, err
}

// Cursor implements capture.Cursors.
func (m memory) Cursor(system string) (c connectors.Cursor, err error) {
	err = m.store.View(func(tx store.Tx) error {
		c, err = core.SourceCursor(tx, system)
		return err
	})
	return c, err
}
