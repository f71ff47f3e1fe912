// Package inbox is what an agent knows from the hub: per pact the place in the
// feed, and the newest version of every register it shares. It is passive: typed
// tables over one transaction.
package inbox

import (
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/agent/store/pack"
	"github.com/entente-sync/entente/crdt"
)

// Tables of this package; agent/DESIGN.md lists all of them.
const (
	tableFeed     = 'F' // pact -> Feed
	tableRegister = 'f' // pact, type, record, field -> register
	tableChild    = 'k' // pact, parent, child -> nothing
	tableConflict = 'x' // pact, type, record, field -> nothing: open conflict records
)

const version = 1

// feedVersion 2 knows how far older epochs were read.
const feedVersion = 2

// Feed is the place in one pact's feed. The zero Feed never met a hub.
type Feed struct {
	Epoch crdt.Epoch
	// Offset is the last position taken in; Head the last head heard of.
	Offset, Head crdt.Offset
	Lineage      crdt.Lineage
	// Met: the feed was read to its head since the first connection, the last new
	// epoch, or the last doubt about this store. Nothing is captured before.
	Met bool
	// Known is the newest incarnation of this agent that the hub knew of and this
	// store did not, and that was dealt with.
	Known uint64
	// Doubt is the head of the feed when this store turned out to be an older copy
	// of itself: what the feed had by then may exist in a system already.
	Doubt crdt.Offset
	// Whole is the newest head of this epoch that the feed was read to: everything
	// up to there is held. Before that, what replaced a version may lie ahead.
	Whole crdt.Offset
	// Held lists how far older epochs were read, as Whole says.
	Held  []crdt.Position
	Offer Offer
}

// HeldMax bounds the older epochs that are remembered.
const HeldMax = 64

// Offer is the progress of bringing what is held to a hub of a new epoch. Nothing
// of that epoch is read while it is open.
type Offer struct {
	Open  bool
	Next  []byte       // store key to go on from; empty is the first
	Head  crdt.Offset  // of the feed when the hub was greeted
	Older crdt.Lineage // as the hub of the epoch before told it
	// Taken and Refused count the registers that the hub answered, after the end
	// too.
	Taken, Refused uint64
}

// Cursor is where to subscribe from.
func (f Feed) Cursor() crdt.Position { return crdt.Position{Epoch: f.Epoch, Offset: f.Offset} }

// GetFeed returns the place in a pact's feed, zero if there is none.
func GetFeed(tx store.Tx, pact crdt.Pact) (Feed, error) {
	b, ok, err := tx.Get(pack.Key(tableFeed, string(pact)))
	if err != nil || !ok {
		return Feed{}, err
	}
	return decodeFeed(b)
}

// PutFeed stores the place in a pact's feed.
func PutFeed(tx store.Tx, pact crdt.Pact, f Feed) error {
	return tx.Set(pack.Key(tableFeed, string(pact)), encodeFeed(f))
}

func encodeFeed(f Feed) []byte {
	w := pack.NewWriter(feedVersion)
	w.Uint(uint64(f.Epoch))
	w.Uint(uint64(f.Offset))
	w.Uint(uint64(f.Head))
	w.Bool(f.Met)
	w.Uint(f.Known)
	w.Uint(uint64(f.Doubt))
	writeLineage(w, f.Lineage)
	w.Uint(uint64(f.Whole))
	w.Uint(uint64(len(f.Held)))
	for _, at := range f.Held {
		w.Position(at)
	}
	w.Bool(f.Offer.Open)
	w.String(string(f.Offer.Next))
	w.Uint(uint64(f.Offer.Head))
	writeLineage(w, f.Offer.Older)
	w.Uint(f.Offer.Taken)
	w.Uint(f.Offer.Refused)
	return w.Bytes()
}

func decodeFeed(b []byte) (Feed, error) {
	r := pack.NewReader(b, feedVersion)
	f := Feed{
		Epoch:  crdt.Epoch(r.Uint()),
		Offset: crdt.Offset(r.Uint()),
		Head:   crdt.Offset(r.Uint()),
		Met:    r.Bool(),
		Known:  r.Uint(),
		Doubt:  crdt.Offset(r.Uint()),
	}
	if len(b) > 0 && b[0] == 1 { // which brought back own ops only
		f.Offer.Open = r.Bool()
		_ = r.String()
		for range r.Count() {
			_, _ = r.Uint(), r.Uint()
		}
		for range r.Count() {
			f.Lineage = append(f.Lineage, crdt.Fork{
				Child: crdt.Epoch(r.Uint()), Parent: crdt.Epoch(r.Uint()), At: crdt.Offset(r.Uint()),
			})
		}
		return f, r.Close("feed place")
	}
	f.Lineage = readLineage(r)
	f.Whole = crdt.Offset(r.Uint())
	for range r.Count() {
		f.Held = append(f.Held, r.Position())
	}
	f.Offer = Offer{Open: r.Bool(), Next: []byte(r.String()), Head: crdt.Offset(r.Uint()), Older: readLineage(r), Taken: r.Uint(), Refused: r.Uint()}
	return f, r.Close("feed place")
}

func writeLineage(w *pack.Writer, l crdt.Lineage) {
	w.Uint(uint64(len(l)))
	for _, fork := range l {
		w.Uint(uint64(fork.Child))
		w.Uint(uint64(fork.Parent))
		w.Uint(uint64(fork.At))
		w.Uint(uint64(fork.From))
	}
}

func readLineage(r *pack.Reader) (l crdt.Lineage) {
	for range r.Count() {
		l = append(l, crdt.Fork{
			Child: crdt.Epoch(r.Uint()), Parent: crdt.Epoch(r.Uint()),
			At: crdt.Offset(r.Uint()), From: crdt.Offset(r.Uint()),
		})
	}
	return l
}

// Register returns the newest version of a register, zero if there is none.
func Register(tx store.Tx, key crdt.Key) (crdt.Register, error) {
	b, ok, err := tx.Get(registerKey(key))
	if err != nil || !ok {
		return crdt.Register{}, err
	}
	return decodeRegister(b)
}

// Put joins r with what is stored and reports whether that changed the version.
func Put(tx store.Tx, r *crdt.Register) (changed bool, err error) {
	old, err := Register(tx, r.Op.Key)
	if err != nil {
		return false, err
	}
	joined := crdt.Join(&old, r)
	if !old.IsZero() && joined.Compare(&old) == 0 && joined.Birth == old.Birth {
		return false, nil
	}
	changed = old.IsZero() || joined.Compare(&old) != 0
	if changed && joined.Op.Key.Field.IsLost() {
		if err := markConflict(tx, joined); err != nil {
			return false, err
		}
	}
	return changed, tx.Set(registerKey(r.Op.Key), encodeRegister(joined))
}

// markConflict keeps the table of open conflict records. One that cannot be read
// counts as open.
func markConflict(tx store.Tx, r *crdt.Register) error {
	key := keyOf(tableConflict, r.Op.Key)
	if l, err := crdt.DecodeLost(&r.Op); err == nil && l.State == crdt.LostResolved {
		return tx.Delete(key)
	}
	return tx.Set(key, pack.NewWriter(version).Bytes())
}

// Conflicts counts the open conflict records of a pact. It reads as many rows.
func Conflicts(tx store.Tx, pact crdt.Pact) (n int, err error) {
	err = tx.Scan(pack.Key(tableConflict, string(pact)), nil, func(_, _ []byte) error {
		n++
		return nil
	})
	return n, err
}

// OfRecord returns the registers of one record in order of their fields.
func OfRecord(tx store.Tx, key crdt.Key) ([]crdt.Register, error) {
	var out []crdt.Register
	prefix := pack.Key(tableRegister, string(key.Pact), string(key.Type), string(key.Record[:]))
	err := tx.Scan(prefix, nil, func(_, b []byte) error {
		r, err := decodeRegister(b)
		out = append(out, r)
		return err
	})
	return out, err
}

// Walk calls fn for each register of a pact from key from (nil: the first)
// onwards, until fn returns store.ErrStop. key is where to go on from.
func Walk(tx store.Tx, pact crdt.Pact, from []byte, fn func(key []byte, r crdt.Register) error) error {
	return tx.Scan(pack.Key(tableRegister, string(pact)), from, func(key, b []byte) error {
		r, err := decodeRegister(b)
		if err != nil {
			return err
		}
		return fn(key, r)
	})
}

// Count counts the registers that Walk would visit. It reads all of them.
func Count(tx store.Tx, pact crdt.Pact, from []byte) (n uint64, err error) {
	err = tx.Scan(pack.Key(tableRegister, string(pact)), from, func(_, _ []byte) error {
		n++
		return nil
	})
	return n, err
}

func registerKey(key crdt.Key) []byte { return keyOf(tableRegister, key) }

func keyOf(table byte, key crdt.Key) []byte {
	return pack.Key(table, string(key.Pact), string(key.Type), string(key.Record[:]), string(key.Field))
}

func encodeRegister(r *crdt.Register) []byte {
	w := pack.NewWriter(version)
	w.Position(r.Birth)
	w.Op(&r.Op)
	return w.Bytes()
}

func decodeRegister(b []byte) (crdt.Register, error) {
	r := pack.NewReader(b, version)
	birth := r.Position()
	op := r.Op()
	if err := r.Close("register"); err != nil {
		return crdt.Register{}, err
	}
	return crdt.NewRegister(op, birth), nil
}

// AddChild remembers that child belongs to parent.
func AddChild(tx store.Tx, pact crdt.Pact, parent, child crdt.RecordID) error {
	w := pack.NewWriter(version)
	return tx.Set(pack.Key(tableChild, string(pact), string(parent[:]), string(child[:])), w.Bytes())
}

// Children returns the known children of parent, in order of their ids.
func Children(tx store.Tx, pact crdt.Pact, parent crdt.RecordID) ([]crdt.RecordID, error) {
	var out []crdt.RecordID
	err := tx.Scan(pack.Key(tableChild, string(pact), string(parent[:])), nil, func(key, _ []byte) error {
		parts, err := pack.Parts(key, 3)
		if err != nil || len(parts[2]) != len(crdt.RecordID{}) {
			return err
		}
		out = append(out, crdt.RecordID([]byte(parts[2])))
		return nil
	})
	return out, err
}
