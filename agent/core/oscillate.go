package core

import (
	"errors"
	"time"

	"github.com/entente-sync/entente/agent/store/pack"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
)

const tableFlip = 'b' // system, record, field -> flips

const flipVersion = 1

// flipsMax is how many answers to our writes, which nothing proves to be a
// person's, travel as edits within flipWindow before the field is frozen.
const flipsMax = 3

const flipWindow = 10 * time.Minute

// flips counts the unproven answers to our own writes of one field.
type flips struct {
	SinceMillis int64 // of the first
	Count       uint64
}

func flipKey(system string, record crdt.RecordID, f crdt.Field) []byte {
	return pack.Key(tableFlip, system, string(record[:]), string(f))
}

func encodeFlips(n flips) []byte {
	w := pack.NewWriter(flipVersion)
	w.Int(n.SinceMillis)
	w.Uint(n.Count)
	return w.Bytes()
}

func decodeFlips(b []byte) (flips, error) {
	r := pack.NewReader(b, flipVersion)
	n := flips{SinceMillis: r.Int(), Count: r.Uint()}
	return n, r.Close("flips")
}

// oscillates counts one more answer to a write of ours that nothing explains. Once
// there were too many it freezes the field and reports that: two systems that cannot
// agree how to spell a value would write to each other for ever.
func (s *step) oscillates(v *view, f crdt.Field, w intentField) (bool, error) {
	at := flipKey(v.system, v.sh.ID, f)
	n := flips{SinceMillis: s.now}
	b, ok, err := s.tx.Get(at)
	if err != nil {
		return false, err
	}
	if ok {
		was, err := decodeFlips(b)
		if err != nil {
			return false, err
		}
		if age := s.now - was.SinceMillis; age >= 0 && age < flipWindow.Milliseconds() {
			n = was
		}
	}
	n.Count++
	if err := s.tx.Set(at, encodeFlips(n)); err != nil || n.Count <= flipsMax {
		return false, err
	}
	return true, s.hold(Hold{
		System: v.system, Record: v.sh.ID, Field: f, Key: v.sh.Key, Code: codeOscillation, Outgoing: true, Version: w.Version.ID,
		Message: "the system answers each write of this field with another value; it is left as it is until a person edits or releases it",
	})
}

// thaw forgets the answers that froze a field, so that it is written again.
func (s *step) thaw(system string, record crdt.RecordID, f crdt.Field, key connectors.Key) error {
	return errors.Join(s.tx.Delete(flipKey(system, record, f)), s.lookAt(system, keyItem(key), s.now))
}
