package outbox

import (
	"encoding/binary"
	"fmt"

	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/agent/store/pack"
	"github.com/entente-sync/entente/crdt"
)

func putEntry(tx store.Tx, e *Entry) error {
	return tx.Set(entryKey(e.Op.Key.Pact, e.Position), encodeEntry(e))
}

func encodeEntry(e *Entry) []byte {
	w := pack.NewWriter(version)
	w.OpID(e.After)
	w.Bool(e.Acked)
	w.Uint(uint64(e.Offset))
	w.Bool(e.Rebase != nil)
	if e.Rebase != nil {
		w.Base(*e.Rebase)
	}
	w.Op(&e.Op)
	return w.Bytes()
}

func decodeEntry(b []byte, at uint64) (Entry, error) {
	r := pack.NewReader(b, version)
	e := Entry{Position: at, After: r.OpID(), Acked: r.Bool(), Offset: crdt.Offset(r.Uint())}
	if r.Bool() {
		base := r.Base()
		e.Rebase = &base
	}
	e.Op = r.Op()
	return e, r.Close("outbox entry")
}

func entryKey(pact crdt.Pact, at uint64) []byte {
	return pack.Key(tableEntry, string(pact), pack.Ordered(at))
}

func idKey(pact crdt.Pact, id crdt.OpID) []byte {
	return pack.Key(tableByID, string(pact), string(id.Author.Site), string(id.Author.Agent),
		pack.Ordered(id.Author.Incarnation), pack.Ordered(uint64(id.Seq)))
}

func registerPrefix(key crdt.Key) []byte {
	return pack.Key(tableRegister, string(key.Pact), string(key.Type), string(key.Record[:]), string(key.Field))
}

func registerKey(key crdt.Key, at uint64) []byte {
	return pack.Key(tableRegister, string(key.Pact), string(key.Type), string(key.Record[:]), string(key.Field),
		pack.Ordered(at))
}

// positionOf reads the last part of a key.
func positionOf(key []byte) (uint64, error) {
	if len(key) < 9 {
		return 0, fmt.Errorf("outbox key: %w", pack.ErrCorrupt)
	}
	return binary.BigEndian.Uint64(key[len(key)-8:]), nil
}

func missing(is bool, at uint64) error {
	if !is {
		return nil
	}
	return fmt.Errorf("outbox entry %d: %w: missing", at, pack.ErrCorrupt)
}
