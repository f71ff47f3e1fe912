package wire

import (
	"github.com/entente-sync/entente/crdt"
	syncv1 "github.com/entente-sync/entente/proto/entente/sync/v1"
)

// Span asks for versions of one register: see HistoryRequest of sync.proto.
type Span struct {
	Key                  crdt.Key
	FromMillis, ToMillis int64       // 0 is as far back as is kept, or up to now
	After                crdt.Offset // cursor; 0 for the first page
	Limit                int         // 1 to SliceEntriesMax; 0 means that
}

// Moment asks for a record as it was, or for one register if Key has a field.
type Moment struct {
	Key    crdt.Key
	Millis int64
	After  crdt.Field // cursor; empty for the first page
	Limit  int        // 1 to SliceEntriesMax; 0 means that
}

// Version is a version of a register that is or was current.
type Version struct {
	Entry
	Millis   int64       // when it became current, by the leaders' clock; 0: before the history
	Replaced crdt.Offset // 0: it was the first, or Millis is 0
}

// Reach is what the answering node knows. All nodes answer alike about times
// before ClockMillis.
type Reach struct {
	HorizonMillis, ClockMillis int64
	Head                       crdt.Offset
}

// Timeline is one page of a register's versions.
type Timeline struct {
	Versions []Version // ascending in offset
	Next     crdt.Offset
	Reach    Reach
}

// Past is one page of a record's registers.
type Past struct {
	Versions []Version // ascending by field
	Unknown  []crdt.Field
	Next     crdt.Field
	Reach    Reach
}

func encodeSpan(s *Span) *syncv1.HistoryRequest {
	return &syncv1.HistoryRequest{
		Pact: string(s.Key.Pact), Type: string(s.Key.Type), Record: s.Key.Record[:], Field: string(s.Key.Field),
		FromMs: s.FromMillis, ToMs: s.ToMillis, After: uint64(s.After), Limit: uint32(s.Limit),
	}
}

func decodeSpan(m *syncv1.HistoryRequest) (Span, error) {
	key, err := decodeKey(m.GetPact(), m.GetType(), m.GetRecord(), m.GetField())
	if err != nil {
		return Span{}, err
	}
	s := Span{Key: key, FromMillis: m.GetFromMs(), ToMillis: m.GetToMs(), After: crdt.Offset(m.GetAfter())}
	if s.FromMillis < 0 || s.ToMillis < 0 || s.ToMillis != 0 && s.ToMillis < s.FromMillis {
		return Span{}, Errorf(ReasonMalformed, "a span from %d to %d", s.FromMillis, s.ToMillis)
	}
	s.Limit, err = decodeLimit(m.GetLimit())
	return s, err
}

func encodeMoment(at *Moment) *syncv1.AsOfRequest {
	return &syncv1.AsOfRequest{
		Pact: string(at.Key.Pact), Type: string(at.Key.Type), Record: at.Key.Record[:], Field: string(at.Key.Field),
		AtMs: at.Millis, After: string(at.After), Limit: uint32(at.Limit),
	}
}

func decodeMoment(m *syncv1.AsOfRequest) (Moment, error) {
	field := m.GetField()
	if field == "" {
		field = string(crdt.FieldLife) // stands for all of them, to be checked
	}
	key, err := decodeKey(m.GetPact(), m.GetType(), m.GetRecord(), field)
	if err != nil {
		return Moment{}, err
	}
	key.Field = crdt.Field(m.GetField())
	if n := len(m.GetAfter()); n > crdt.FieldBytesMax {
		return Moment{}, Errorf(ReasonMalformed, "a cursor of %d bytes", n)
	}
	if m.GetAtMs() < 0 {
		return Moment{}, Errorf(ReasonMalformed, "a time of %d ms", m.GetAtMs())
	}
	limit, err := decodeLimit(m.GetLimit())
	return Moment{Key: key, Millis: m.GetAtMs(), After: crdt.Field(m.GetAfter()), Limit: limit}, err
}

func decodeLimit(n uint32) (int, error) {
	if n > SliceEntriesMax {
		return 0, Errorf(ReasonMalformed, "%d versions wanted, limit %d", n, SliceEntriesMax)
	}
	if n == 0 {
		n = SliceEntriesMax
	}
	return int(n), nil
}

func decodeKey(pact, typ string, record []byte, field string) (k crdt.Key, err error) {
	if len(record) != len(k.Record) {
		return k, Errorf(ReasonMalformed, "record id of %d bytes, want %d", len(record), len(k.Record))
	}
	k = crdt.Key{Pact: crdt.Pact(pact), Type: crdt.Type(typ), Record: crdt.RecordID(record), Field: crdt.Field(field)}
	if err := k.Validate(); err != nil {
		return crdt.Key{}, Errorf(ReasonMalformed, "%w", err)
	}
	return k, nil
}

func encodeVersions(in []Version) []*syncv1.Version {
	out := make([]*syncv1.Version, len(in))
	for i := range in {
		v := &in[i]
		out[i] = &syncv1.Version{
			Entry: &syncv1.Entry{
				Offset: uint64(v.Offset), Birth: encodePosition(v.Register.Birth), Op: encodeOp(&v.Register.Op),
			},
			AtMs: v.Millis, Replaced: uint64(v.Replaced),
		}
	}
	return out
}

// decodeVersions takes versions of key's record, or of its register if that has a
// field. It hashes each op.
func decodeVersions(key crdt.Key, in []*syncv1.Version) ([]Version, error) {
	if n := len(in); n > SliceEntriesMax {
		return nil, Errorf(ReasonMalformed, "%d versions, limit %d", n, SliceEntriesMax)
	}
	out := make([]Version, len(in))
	for i, m := range in {
		e := m.GetEntry()
		op, err := decodeOp(key.Pact, e.GetOp())
		if err != nil {
			return nil, Errorf(ReasonOf(err), "version %d at offset %d: %w", i, e.GetOffset(), err)
		}
		want := key
		if want.Field == "" {
			want.Field = op.Key.Field
		}
		if op.Key != want || e.GetOffset() == 0 || m.GetAtMs() < 0 || m.GetReplaced() >= e.GetOffset() {
			return nil, Errorf(ReasonMalformed, "version %d at offset %d of %s is not what was asked for", i, e.GetOffset(), op.Key)
		}
		out[i] = Version{
			Entry:  Entry{Offset: crdt.Offset(e.GetOffset()), Register: crdt.NewRegister(op, decodePosition(e.GetBirth()))},
			Millis: m.GetAtMs(), Replaced: crdt.Offset(m.GetReplaced()),
		}
	}
	return out, nil
}

func encodeTimeline(t *Timeline) *syncv1.HistoryResponse {
	return &syncv1.HistoryResponse{Versions: encodeVersions(t.Versions), Next: uint64(t.Next), Reach: encodeReach(t.Reach)}
}

func decodeTimeline(key crdt.Key, m *syncv1.HistoryResponse) (t Timeline, err error) {
	if t.Versions, err = decodeVersions(key, m.GetVersions()); err != nil {
		return Timeline{}, err
	}
	for i := 1; i < len(t.Versions); i++ {
		if t.Versions[i-1].Offset >= t.Versions[i].Offset {
			return Timeline{}, Errorf(ReasonMalformed, "version %d: offset %d after %d", i, t.Versions[i].Offset, t.Versions[i-1].Offset)
		}
	}
	t.Next, t.Reach = crdt.Offset(m.GetNext()), decodeReach(m.GetReach())
	return t, nil
}

func encodePast(p *Past) *syncv1.AsOfResponse {
	m := &syncv1.AsOfResponse{Versions: encodeVersions(p.Versions), Next: string(p.Next), Reach: encodeReach(p.Reach)}
	for _, f := range p.Unknown {
		m.Unknown = append(m.Unknown, string(f))
	}
	return m
}

func decodePast(key crdt.Key, m *syncv1.AsOfResponse) (p Past, err error) {
	if p.Versions, err = decodeVersions(key, m.GetVersions()); err != nil {
		return Past{}, err
	}
	if n := len(m.GetUnknown()); n > SliceEntriesMax {
		return Past{}, Errorf(ReasonMalformed, "%d fields, limit %d", n, SliceEntriesMax)
	}
	for _, name := range append(m.GetUnknown(), m.GetNext()) {
		if len(name) > crdt.FieldBytesMax {
			return Past{}, Errorf(ReasonMalformed, "field of %d bytes", len(name))
		}
	}
	for _, name := range m.GetUnknown() {
		p.Unknown = append(p.Unknown, crdt.Field(name))
	}
	p.Next, p.Reach = crdt.Field(m.GetNext()), decodeReach(m.GetReach())
	return p, nil
}

func encodeReach(r Reach) *syncv1.HistoryReach {
	return &syncv1.HistoryReach{HorizonMs: r.HorizonMillis, ClockMs: r.ClockMillis, Head: uint64(r.Head)}
}

func decodeReach(m *syncv1.HistoryReach) Reach {
	return Reach{HorizonMillis: m.GetHorizonMs(), ClockMillis: m.GetClockMs(), Head: crdt.Offset(m.GetHead())}
}
