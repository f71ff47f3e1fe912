package core

import (
	"bytes"

	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/agent/store/pack"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
)

const tableHold = 'h' // system, record, field -> Hold

const holdVersion = 1

// HoldsMax bounds one answer of Holds.
const HoldsMax = 1000

// Hold is one field, or with an empty Field one record, that waits for a
// person. Nothing else waits for it.
type Hold struct {
	System string
	Record crdt.RecordID
	Field  crdt.Field
	Key    connectors.Key // local key, "" if there is none yet
	// Code is stable ("value.unmapped", "system.invalid", a hub's reason); Message
	// is for people and names no field value.
	Code, Message string
	SinceMillis   int64
	// Outgoing: a local edit waits; inbound writes to the field wait with it, so
	// that nothing overwrites the edit. Otherwise an inbound version waits, and a
	// newer one takes its place.
	Outgoing bool
	// Quiet: nobody is asked; the local value is kept.
	Quiet bool
	// Version is what was refused: the inbound version, or by the hub our own op.
	Version crdt.OpID
}

// Holds returns the holds of a system, or of all for "", at most HoldsMax.
func Holds(tx store.Tx, system string) (out []Hold, err error) {
	return out, EachHold(tx, system, nil, func(h Hold) error {
		if out = append(out, h); len(out) >= HoldsMax {
			return store.ErrStop
		}
		return nil
	})
}

// EachHold calls fn for each hold of a system, or of all for "", in order of
// record and field, behind the place after (nil: from the first), until fn returns
// store.ErrStop.
func EachHold(tx store.Tx, system string, after []byte, fn func(Hold) error) error {
	prefix := pack.Key(tableHold)
	if system != "" {
		prefix = pack.Key(tableHold, system)
	}
	if after != nil {
		after = append(bytes.Clone(after), 0)
	}
	return tx.Scan(prefix, after, func(_, b []byte) error {
		h, err := decodeHold(b)
		if err != nil {
			return err
		}
		return fn(h)
	})
}

// Place is where EachHold goes on behind h.
func (h *Hold) Place() []byte { return holdKey(h.System, h.Record, h.Field) }

func holdKey(system string, record crdt.RecordID, field crdt.Field) []byte {
	return pack.Key(tableHold, system, string(record[:]), string(field))
}

func (s *step) holdOf(system string, record crdt.RecordID, field crdt.Field) (Hold, bool, error) {
	b, ok, err := s.tx.Get(holdKey(system, record, field))
	if err != nil || !ok {
		return Hold{}, false, err
	}
	h, err := decodeHold(b)
	return h, err == nil, err
}

// hold opens a hold or replaces the one of the same place, whose age it keeps
// while the code is the same.
func (s *step) hold(h Hold) error {
	old, ok, err := s.holdOf(h.System, h.Record, h.Field)
	if err != nil {
		return err
	}
	h.SinceMillis = s.now
	var reopened bool
	if ok && (old.Code != h.Code || old.Version != h.Version) {
		if reopened, err = s.forget(h.System, h.Record, h.Field); err != nil {
			return err
		}
	}
	same := ok && old.Code == h.Code
	if same {
		h.SinceMillis = old.SinceMillis
	}
	if (!same || reopened) && !h.Quiet {
		s.emit(Notice{Kind: NoticeHeld, System: h.System, Record: h.Record, Field: h.Field, Code: h.Code})
	}
	return s.tx.Set(holdKey(h.System, h.Record, h.Field), encodeHold(h))
}

// free closes a hold, if there is one.
func (s *step) free(system string, record crdt.RecordID, field crdt.Field) error {
	h, ok, err := s.holdOf(system, record, field)
	if err != nil || !ok {
		return err
	}
	if !h.Quiet {
		s.emit(Notice{Kind: NoticeFreed, System: system, Record: record, Field: field, Code: h.Code})
	}
	if _, err := s.forget(system, record, field); err != nil {
		return err
	}
	return s.tx.Delete(holdKey(system, record, field))
}

func encodeHold(h Hold) []byte {
	w := pack.NewWriter(holdVersion)
	w.String(h.System)
	w.Record(h.Record)
	w.String(string(h.Field))
	w.String(string(h.Key))
	w.String(h.Code)
	w.String(h.Message)
	w.Int(h.SinceMillis)
	w.Bool(h.Outgoing)
	w.Bool(h.Quiet)
	w.OpID(h.Version)
	return w.Bytes()
}

func decodeHold(b []byte) (Hold, error) {
	r := pack.NewReader(b, holdVersion)
	h := Hold{System: r.String(), Record: r.Record(), Field: crdt.Field(r.String())}
	h.Key = connectors.Key(r.String())
	h.Code, h.Message = r.String(), r.String()
	h.SinceMillis = r.Int()
	h.Outgoing, h.Quiet = r.Bool(), r.Bool()
	h.Version = r.OpID()
	return h, r.Close("hold")
}
