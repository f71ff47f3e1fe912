package pact

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/entente-sync/entente/crdt"
)

// Format is the newest version byte of a pact's canonical bytes. Format 2 added
// the limits on bytes, registers and history; a pact without them is still
// written in format 1, so that its bytes are the same for ever.
const Format = 2

// DocumentBytesMax bounds a pact's canonical bytes.
const DocumentBytesMax = 1 << 20

// Errors of Decode, to be matched with errors.Is.
var (
	ErrMalformed = errors.New("malformed pact document")
	ErrNewer     = errors.New("pact document is newer than this program")
)

// Encode returns the canonical bytes of a valid pact: the lowest format that can
// say it, then everything in declaration order, lists of sites sorted, ""
// policies as newest. Equal agreements have equal bytes.
func (p *Pact) Encode() []byte {
	b := []byte{1}
	b = putString(b, string(p.Name))
	b = binary.AppendUvarint(b, uint64(p.Version))
	b = putStrings(b, sorted(p.Members))
	b = putString(b, string(p.Record))
	b = putStrings(b, sorted(p.Deletes))
	b = binary.AppendUvarint(b, uint64(p.Limits.OpsPerSecond))
	b = binary.AppendUvarint(b, uint64(p.Limits.Records))
	b = binary.AppendUvarint(b, uint64(len(p.Fields)))
	for i := range p.Fields {
		b = p.Fields[i].append(b)
	}
	if !p.Limits.plain() {
		b[0] = 2
		b = p.Limits.append(b)
	}
	return b
}

// append appends what format 2 added.
func (l Limits) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(l.BytesPerSecond))
	b = binary.AppendUvarint(b, uint64(l.Registers))
	days := uint64(l.HistoryDays) + 1 // 0 is the hub's own, 1 none
	if l.HistoryDays == 0 {
		days = 0
	} else if l.HistoryDays == HistoryNone {
		days = 1
	}
	return binary.AppendUvarint(b, days)
}

func (d *decoder) limits(l *Limits) {
	l.BytesPerSecond = int(d.uvarint(math.MaxInt32))
	l.Registers = int(d.uvarint(math.MaxInt32))
	switch days := int(d.uvarint(HistoryDaysMax + 1)); days {
	case 0:
	case 1:
		l.HistoryDays = HistoryNone
	default:
		l.HistoryDays = days - 1
	}
}

func (f *Field) append(b []byte) []byte {
	b = putString(b, string(f.Name))
	b = putString(b, string(f.Type))
	b = putStrings(b, f.Values)
	b = putStrings(b, sorted(f.Writers))
	b = binary.AppendUvarint(b, uint64(f.BytesMax))
	required := byte(0)
	if f.Required {
		required = 1
	}
	b = append(b, required)
	b = putString(b, f.Default)
	b = putString(b, f.Pattern)
	conflict := f.Conflict
	if conflict == "" {
		conflict = PolicyNewest
	}
	b = putString(b, string(conflict))
	b = putStrings(b, sorted(f.Share))
	return binary.AppendUvarint(b, uint64(f.Since))
}

// Decode reads canonical bytes, all of b, into a pact that passed Validate. It
// refuses every other encoding: an error wraps ErrNewer, ErrMalformed or
// ErrInvalid. It never panics.
func Decode(b []byte) (*Pact, error) {
	switch {
	case len(b) == 0 || b[0] == 0:
		return nil, fmt.Errorf("%w: no format", ErrMalformed)
	case b[0] > Format:
		return nil, fmt.Errorf("%w: format %d, known up to %d", ErrNewer, b[0], Format)
	case len(b) > DocumentBytesMax:
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrMalformed, len(b), DocumentBytesMax)
	}
	d := decoder{rest: b[1:]}
	p := &Pact{
		Name:    crdt.Pact(d.string()),
		Version: uint32(d.uvarint(math.MaxUint32)),
		Members: readStrings[crdt.Site](&d),
		Record:  crdt.Type(d.string()),
		Deletes: readStrings[crdt.Site](&d),
		Limits:  Limits{OpsPerSecond: int(d.uvarint(math.MaxInt32)), Records: int(d.uvarint(math.MaxInt32))},
	}
	for range d.count() {
		p.Fields = append(p.Fields, d.field())
		if d.failed {
			break
		}
	}
	if b[0] > 1 {
		d.limits(&p.Limits)
	}
	if d.failed || len(d.rest) != 0 {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if string(p.Encode()) != string(b) {
		return nil, fmt.Errorf("%w: not canonical", ErrMalformed)
	}
	return p, nil
}

func (d *decoder) field() Field {
	return Field{
		Name:     crdt.Field(d.string()),
		Type:     FieldType(d.string()),
		Values:   readStrings[string](d),
		Writers:  readStrings[crdt.Site](d),
		BytesMax: int(d.uvarint(math.MaxInt32)),
		Required: d.uvarint(1) == 1,
		Default:  d.string(),
		Pattern:  d.string(),
		Conflict: Policy(d.string()),
		Share:    readStrings[string](d),
		Since:    uint32(d.uvarint(math.MaxUint32)),
	}
}

func sorted[S ~string](names []S) []S {
	names = slices.Clone(names)
	slices.Sort(names)
	return names
}

func putString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func putStrings[S ~string](b []byte, list []S) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = putString(b, string(s))
	}
	return b
}

// decoder reads canonical bytes; after the first failure it returns zeros.
type decoder struct {
	rest   []byte
	failed bool
}

func (d *decoder) uvarint(limit uint64) uint64 {
	n, size := binary.Uvarint(d.rest)
	if d.failed || size <= 0 || n > limit {
		d.failed = true
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

// count reads the length of something whose elements take a byte or more each.
func (d *decoder) count() int { return int(d.uvarint(uint64(len(d.rest)))) }

func (d *decoder) string() string {
	n := d.count()
	if d.failed || n > len(d.rest) {
		d.failed = true
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

func readStrings[S ~string](d *decoder) []S {
	var list []S
	for range d.count() {
		list = append(list, S(d.string()))
		if d.failed {
			return nil
		}
	}
	return list
}
