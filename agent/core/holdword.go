package core

import (
	"cmp"
	"slices"
	"strings"

	"github.com/entente-sync/entente/agent/shadow"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/agent/store/pack"
	"github.com/entente-sync/entente/crdt"
)

const tableWord = 'y' // system, record, field -> Word

const wordVersion = 1

// Word is what a person said of a hold. It counts for what was held then: a hold
// with another code or version is a new one.
type Word struct {
	Skip       bool // what is held shall not cross; otherwise it is only known
	AtMillis   int64
	By, Reason string

	code    string
	version crdt.OpID
}

func (w *Word) about(h *Hold) bool { return w.code == h.Code && w.version == h.Version }

// WordOn returns what a person said of a hold; ok is false for a hold that still
// asks for one.
func WordOn(tx store.Tx, h *Hold) (w Word, ok bool, err error) {
	b, ok, err := tx.Get(wordKey(h.System, h.Record, h.Field))
	if err != nil || !ok {
		return Word{}, false, err
	}
	w, err = decodeWord(b)
	return w, err == nil && w.about(h), err
}

func wordKey(system string, record crdt.RecordID, field crdt.Field) []byte {
	return pack.Key(tableWord, system, string(record[:]), string(field))
}

func encodeWord(v Word) []byte {
	w := pack.NewWriter(wordVersion)
	w.Bool(v.Skip)
	w.Int(v.AtMillis)
	w.String(v.By)
	w.String(v.Reason)
	w.String(v.code)
	w.OpID(v.version)
	return w.Bytes()
}

func decodeWord(b []byte) (Word, error) {
	r := pack.NewReader(b, wordVersion)
	w := Word{Skip: r.Bool(), AtMillis: r.Int(), By: r.String(), Reason: r.String(), code: r.String(), version: r.OpID()}
	return w, r.Close("word on a hold")
}

// Handled is a person's word on a hold that is not mended. Without Skip it says
// that the hold is known: it goes on, and asks nobody. With Skip it says that what
// is held shall not cross: a version from elsewhere is left out until a newer one
// comes, and a local edit stays at home until the field is written from elsewhere,
// or edited again. The answer is an Answer.
type Handled struct {
	NowMillis  int64
	System     string
	Record     crdt.RecordID
	Field      crdt.Field // "" names the hold of the whole record
	Skip       bool
	By, Reason string
}

func (e Handled) now() int64 { return e.NowMillis }

// Codes of refusals of a word on a hold.
const (
	refusedNoHold = "hold.unknown"
	refusedWhole  = "hold.whole"
)

func (s *step) handled(e Handled) error {
	h, ok, err := s.holdOf(e.System, e.Record, e.Field)
	switch {
	case err != nil:
		return err
	case !ok:
		s.emit(Answer{Refusal: Refusal{Code: refusedNoHold, Message: "nothing is held there; it may have been mended"}})
		return nil
	case e.Skip && h.Field == "":
		s.emit(Answer{Refusal: Refusal{Code: refusedWhole, Message: "a whole record is held, which cannot be skipped"}})
		return nil
	}
	s.emit(Answer{})
	if !e.Skip || !h.Outgoing || h.Version.IsZero() {
		w := Word{Skip: e.Skip, AtMillis: s.now, By: e.By, Reason: e.Reason, code: h.Code, version: h.Version}
		if err := s.tx.Set(wordKey(h.System, h.Record, h.Field), encodeWord(w)); err != nil {
			return err
		}
	} else if err := s.free(h.System, h.Record, h.Field); err != nil { // what the hub refused is an image already
		return err
	}
	if !e.Skip || !h.Outgoing {
		return nil
	}
	sh, err := s.shadow(e.System, e.Record)
	if err != nil || sh == nil {
		return err
	}
	return s.look(e.System, keyItem(sh.Key))
}

// forget drops the word on a hold that is gone, and reports whether there was one.
func (s *step) forget(system string, record crdt.RecordID, field crdt.Field) (bool, error) {
	key := wordKey(system, record, field)
	if _, ok, err := s.tx.Get(key); err != nil || !ok {
		return false, err
	}
	return true, s.tx.Delete(key)
}

// giveUp makes what is shown of skipped local edits an image of what was shown
// before, so that nothing is said of them and inbound writes go on. It comes after
// capture, which has just held them again: an edit that can cross did.
func (s *step) giveUp(v *view, in *intent) error {
	var words []Word
	var fields []crdt.Field
	err := s.tx.Scan(pack.Key(tableWord, v.system, string(v.sh.ID[:])), nil, func(key, b []byte) error {
		parts, err := pack.Parts(key, 3)
		if err != nil {
			return err
		}
		w, err := decodeWord(b)
		words, fields = append(words, w), append(fields, crdt.Field(parts[2]))
		return err
	})
	if err != nil {
		return err
	}
	for i, f := range fields {
		if in != nil {
			if _, open := in.Fields[f]; open {
				continue // its write is settled first
			}
		}
		h, ok, err := s.holdOf(v.system, v.sh.ID, f)
		if err != nil {
			return err
		}
		shown, whole := tupleOf(v.rec.Fields, v.sys.Binding.Locals(f))
		if !ok || !h.Outgoing || !words[i].Skip || !words[i].about(&h) || !whole {
			continue
		}
		version := v.sh.Fields[f].Version
		v.sh.Fields[f] = shadow.Field{Shown: shown, Version: version}
		s.touch(v.system, v.sh)
		if err := s.free(v.system, v.sh.ID, f); err != nil {
			return err
		}
	}
	return nil
}

// Cause is all holds of one system that have the same code on the same field and
// stop the same direction.
type Cause struct {
	System   string
	Field    crdt.Field // "" for whole records
	Code     string
	Outgoing bool
	Holds    int // fields, records or comments that wait
	Handled  int // of these, known or skipped by a person
	Quiet    int // of these, by the binding's own rule: nobody is asked
	// OldestMillis is since when the first of them waits; Example is that one.
	OldestMillis int64
	Example      Hold
}

// Causes groups every hold of the store; it reads all of them. Causes come in
// order of system, field, code and direction.
func Causes(tx store.Tx) ([]Cause, error) {
	type group struct {
		system   string
		field    crdt.Field
		code     string
		outgoing bool
	}
	at := map[group]int{}
	var out []Cause
	err := EachHold(tx, "", nil, func(h Hold) error {
		_, handled, err := WordOn(tx, &h)
		if err != nil {
			return err
		}
		g := group{h.System, h.Field, h.Code, h.Outgoing}
		i, ok := at[g]
		if !ok {
			i = len(out)
			at[g] = i
			out = append(out, Cause{System: h.System, Field: h.Field, Code: h.Code, Outgoing: h.Outgoing})
		}
		c := &out[i]
		if c.Holds == 0 || h.SinceMillis < c.OldestMillis {
			c.OldestMillis, c.Example = h.SinceMillis, h
		}
		c.Holds++
		if h.Quiet {
			c.Quiet++
		} else if handled {
			c.Handled++
		}
		return nil
	})
	sortCauses(out)
	return out, err
}

func sortCauses(all []Cause) {
	slices.SortFunc(all, func(a, b Cause) int {
		outgoing := 0
		switch {
		case a.Outgoing && !b.Outgoing:
			outgoing = 1
		case b.Outgoing && !a.Outgoing:
			outgoing = -1
		}
		return cmp.Or(strings.Compare(a.System, b.System), strings.Compare(string(a.Field), string(b.Field)),
			strings.Compare(a.Code, b.Code), outgoing)
	})
}
