// Package shadow is the agent's memory of what its systems last showed: the
// link between a record and its local key, and per field the local values shown
// and the register version that they are an image of. It is passive: typed
// tables over one transaction.
package shadow

import (
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/agent/store/pack"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

// Tables of this package; agent/DESIGN.md lists all of them.
const (
	tableRecord  = 'r' // system, record -> Record
	tableKey     = 'l' // system, local key -> record
	tableComment = 'c' // system, parent, comment key -> child
	tableChild   = 'd' // system, child -> comment key
)

const version = 1

// Version is the register version that a field's local values are an image of.
// The zero Version is the image of nothing: the register was never shown.
type Version struct {
	ID    crdt.OpID
	Stamp crdt.Stamp
	// Birth is what an edit on this version states as its base: the version's own
	// birth, or, while that is unknown, the one that it inherited.
	Birth crdt.Position
}

// Base returns the base of an edit made on v.
func (v Version) Base() crdt.Base { return crdt.Base{Pred: v.ID, Birth: v.Birth} }

// Field is the shadow of one field.
type Field struct {
	// Shown are the local values last shown; nil means never compared.
	Shown   map[string]value.Value
	Version Version
	// WroteMillis is when our own write last made the image, on the system's
	// clock; 0 if a local edit did.
	WroteMillis int64
	// EchoWritten and EchoShown are digests of the last unproven pair of what we
	// wrote and what came back (SEMANTICS rule 7); empty if there was none.
	EchoWritten, EchoShown string
}

// Record is the link of one record to one local key, with its shadow.
type Record struct {
	ID       crdt.RecordID
	Key      connectors.Key
	Revision string // as last read
	Mark     string // id of the newest history entry taken in
	Updated  int64  // Record.Updated as last read, Unix milliseconds
	// Generation below the agent's own means that this store is an older copy of
	// itself, and differences are in doubt (SEMANTICS rule 8).
	Generation uint64
	// Detached: nothing is read from or written to this record any more.
	Detached bool
	// Solo: the system refused a write of several fields without naming one, so
	// that they are written one by one.
	Solo   bool
	Fields map[crdt.Field]Field
}

// Get returns the shadow of a record in one system.
func Get(tx store.Tx, system string, id crdt.RecordID) (*Record, bool, error) {
	b, ok, err := tx.Get(pack.Key(tableRecord, system, string(id[:])))
	if err != nil || !ok {
		return nil, false, err
	}
	r, err := decode(b)
	return r, err == nil, err
}

// ByKey returns the record that a local key is linked to.
func ByKey(tx store.Tx, system string, key connectors.Key) (id crdt.RecordID, ok bool, err error) {
	b, ok, err := tx.Get(pack.Key(tableKey, system, string(key)))
	if err != nil || !ok {
		return id, false, err
	}
	r := pack.NewReader(b, version)
	id = r.Record()
	return id, true, r.Close("link")
}

// Put stores a record's shadow and both directions of its link.
func Put(tx store.Tx, system string, r *Record) error {
	w := pack.NewWriter(version)
	w.Record(r.ID)
	if err := tx.Set(pack.Key(tableKey, system, string(r.Key)), w.Bytes()); err != nil {
		return err
	}
	return tx.Set(pack.Key(tableRecord, system, string(r.ID[:])), encode(r))
}

// Keys calls fn for each linked local key of a system behind the key after (nil:
// from the first), until fn returns store.ErrStop.
func Keys(tx store.Tx, system string, after *connectors.Key, fn func(connectors.Key) error) error {
	var from []byte
	if after != nil {
		from = append(pack.Key(tableKey, system, string(*after)), 0)
	}
	return tx.Scan(pack.Key(tableKey, system), from, func(key, _ []byte) error {
		parts, err := pack.Parts(key, 2)
		if err != nil {
			return err
		}
		return fn(connectors.Key(parts[1]))
	})
}

// Count returns how many records of a system are linked; it scans.
func Count(tx store.Tx, system string) (n int, err error) {
	err = tx.Scan(pack.Key(tableKey, system), nil, func(_, _ []byte) error { n++; return nil })
	return n, err
}

// Comment returns the child record that a local comment is linked to.
func Comment(tx store.Tx, system string, parent crdt.RecordID, key string) (child crdt.RecordID, ok bool, err error) {
	b, ok, err := tx.Get(pack.Key(tableComment, system, string(parent[:]), key))
	if err != nil || !ok {
		return child, false, err
	}
	r := pack.NewReader(b, version)
	child = r.Record()
	return child, true, r.Close("comment link")
}

// Child reports whether a child record is linked in a system, and to which
// comment key; "" if the system never told it.
func Child(tx store.Tx, system string, child crdt.RecordID) (key string, ok bool, err error) {
	b, ok, err := tx.Get(pack.Key(tableChild, system, string(child[:])))
	if err != nil || !ok {
		return "", false, err
	}
	r := pack.NewReader(b, version)
	key = r.String()
	return key, true, r.Close("child link")
}

// LinkComment ties a child record to a local comment; key "" if it is unknown.
func LinkComment(tx store.Tx, system string, parent, child crdt.RecordID, key string) error {
	w := pack.NewWriter(version)
	w.String(key)
	if err := tx.Set(pack.Key(tableChild, system, string(child[:])), w.Bytes()); err != nil || key == "" {
		return err
	}
	w = pack.NewWriter(version)
	w.Record(child)
	return tx.Set(pack.Key(tableComment, system, string(parent[:]), key), w.Bytes())
}
