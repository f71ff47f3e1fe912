package core

import (
	"errors"
	"fmt"

	"github.com/entente-sync/entente/agent/shadow"
	"github.com/entente-sync/entente/agent/store/pack"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

const (
	tableIntent   = 'i' // system, record -> intent
	tableIntentID = 'j' // intent id -> system, record
)

const intentVersion = 1

// intentState says what is known of a write.
type intentState uint64

const (
	stateFlying  intentState = 1 // the driver will answer; it may have happened
	stateDone    intentState = 2 // it happened; what came of it was not read yet
	stateDoubt   intentState = 3 // it may have happened
	stateFinding intentState = 4 // as doubt, with a look-up under way
)

// intent is one write that is not settled. It is stored before the write
// begins; a record has at most one per system.
type intent struct {
	ID     IntentID
	Kind   connectors.WriteKind
	State  intentState
	Record crdt.RecordID
	Child  crdt.RecordID // of a comment
	Key    connectors.Key
	// Revision as read before; Mark the newest history entry, or for a comment
	// the newest comment, then.
	Revision, Mark string
	// CalledMillis is when the last call began: the write, or its look-up.
	CalledMillis int64
	// SinceMillis is when the doubt, or the wait for a read-back, began.
	SinceMillis int64
	// Attempts counts the tries before this one that failed for a time.
	Attempts uint64
	Receipt  connectors.Receipt
	// Forgotten: not this write but an older one, which this store does not
	// remember, may have happened; what it left is compared as at a first meeting.
	Forgotten bool
	Body      string // of a comment
	Fields    map[crdt.Field]intentField
}

// intentField is one field of a write.
type intentField struct {
	Before  map[string]value.Value // local values shown when it was decided; nil before a create
	Writes  map[string]value.Value
	Version shadow.Version // that the write is to show
}

// busy reports whether the driver owes an answer.
func (in *intent) busy() bool { return in.State == stateFlying || in.State == stateFinding }

func (s *step) intent(system string, record crdt.RecordID) (*intent, error) {
	b, ok, err := s.tx.Get(pack.Key(tableIntent, system, string(record[:])))
	if err != nil || !ok {
		return nil, err
	}
	return decodeIntent(b)
}

func (s *step) intentByID(id IntentID) (system string, in *intent, err error) {
	b, ok, err := s.tx.Get(pack.Key(tableIntentID, pack.Ordered(uint64(id))))
	if err != nil || !ok {
		return "", nil, err
	}
	r := pack.NewReader(b, intentVersion)
	system, record := r.String(), r.Record()
	if err := r.Close("intent index"); err != nil {
		return "", nil, err
	}
	in, err = s.intent(system, record)
	return system, in, err
}

// open stores a new intent and emits its write.
func (s *step) open(system string, in *intent, w connectors.Write) error {
	if err := s.intend(system, in); err != nil {
		return err
	}
	s.emit(Write{System: system, Intent: in.ID, Write: w})
	return s.flight(system, 1)
}

// intend stores a new intent.
func (s *step) intend(system string, in *intent) error {
	s.self.NextIntent++
	in.ID, in.State, in.CalledMillis, in.Attempts = s.self.NextIntent, stateFlying, s.now, s.attempts
	idx := pack.NewWriter(intentVersion)
	idx.String(system)
	idx.Record(in.Record)
	return errors.Join(
		s.saveIdentity(),
		s.tx.Set(pack.Key(tableIntentID, pack.Ordered(uint64(in.ID))), idx.Bytes()),
		s.keep(system, in))
}

func (s *step) keep(system string, in *intent) error {
	return s.tx.Set(pack.Key(tableIntent, system, string(in.Record[:])), encodeIntent(in))
}

// settled forgets an intent.
func (s *step) settled(system string, in *intent) error {
	return errors.Join(
		s.tx.Delete(pack.Key(tableIntent, system, string(in.Record[:]))),
		s.tx.Delete(pack.Key(tableIntentID, pack.Ordered(uint64(in.ID)))))
}

// doubt notes that a write may have happened.
func (s *step) doubt(system string, in *intent) error {
	in.State, in.SinceMillis = stateDoubt, s.now
	s.emit(Notice{Kind: NoticeDoubt, System: system, Record: in.Record})
	return s.keep(system, in)
}

// steppedBack begins a doubt again that began later than now: the clock stepped
// back, and nobody knows how long it is.
func (s *step) steppedBack(system string, in *intent) error {
	if in.SinceMillis <= s.now {
		return nil
	}
	in.SinceMillis = s.now
	return s.keep(system, in)
}

// intents returns all intents of a system, in order of their records.
func (s *step) intents(system string) ([]*intent, error) {
	var out []*intent
	err := s.tx.Scan(pack.Key(tableIntent, system), nil, func(_, b []byte) error {
		in, err := decodeIntent(b)
		out = append(out, in)
		return err
	})
	return out, err
}

func encodeIntent(in *intent) []byte {
	w := pack.NewWriter(intentVersion)
	w.Uint(uint64(in.ID))
	w.Uint(uint64(in.Kind))
	w.Uint(uint64(in.State))
	w.Record(in.Record)
	w.Record(in.Child)
	w.String(string(in.Key))
	w.String(in.Revision)
	w.String(in.Mark)
	w.Int(in.CalledMillis)
	w.Int(in.SinceMillis)
	w.Uint(in.Attempts)
	w.String(string(in.Receipt.Key))
	w.String(in.Receipt.Revision)
	w.String(in.Receipt.Comment)
	w.Bool(in.Forgotten)
	w.String(in.Body)
	names := sortedFields(in.Fields)
	w.Uint(uint64(len(names)))
	for _, name := range names {
		f := in.Fields[name]
		w.String(string(name))
		w.Values(f.Before)
		w.Values(f.Writes)
		w.OpID(f.Version.ID)
		w.Uint(uint64(f.Version.Stamp))
		w.Position(f.Version.Birth)
	}
	return w.Bytes()
}

func decodeIntent(b []byte) (*intent, error) {
	r := pack.NewReader(b, intentVersion)
	in := &intent{
		ID:     IntentID(r.Uint()),
		Kind:   connectors.WriteKind(r.Uint()),
		State:  intentState(r.Uint()),
		Record: r.Record(),
		Child:  r.Record(),
		Key:    connectors.Key(r.String()),
	}
	in.Revision, in.Mark = r.String(), r.String()
	in.CalledMillis, in.SinceMillis = r.Int(), r.Int()
	in.Attempts = r.Uint()
	in.Receipt.Key = connectors.Key(r.String())
	in.Receipt.Revision, in.Receipt.Comment = r.String(), r.String()
	in.Forgotten = r.Bool()
	in.Body = r.String()
	in.Fields = map[crdt.Field]intentField{}
	for range r.Count() {
		name := crdt.Field(r.String())
		f := intentField{Before: r.Values(), Writes: r.Values()}
		f.Version.ID = r.OpID()
		f.Version.Stamp = crdt.Stamp(r.Uint())
		f.Version.Birth = r.Position()
		in.Fields[name] = f
	}
	err := r.Close("intent")
	if err == nil && (in.State < stateFlying || in.State > stateFinding) {
		err = fmt.Errorf("intent: %w: state %d", pack.ErrCorrupt, in.State)
	}
	return in, err
}
