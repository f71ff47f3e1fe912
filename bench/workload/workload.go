// Package workload is the one definition of the work that bench/load gives to a
// hub and bench/peers to everything else: the same keys, values, batches, stamps
// and winners, from a seed.
//
// There are Registers registers, each owned by one of Writers writers. A writer
// first writes every register of its own once (the fill), then drawn ones for
// ever, always having seen its own version before. One op in Contested goes to
// somebody else's register instead, and has seen nothing of it. What must stand in
// a register at the end is the op with the greatest stamp, then author: Winner.
package workload

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

// What every key and value looks like.
const (
	KeyBytes   = 60 // of Key
	ValueBytes = 100
	Batch      = 256 // ops of one batch or transaction, where the system has them

	Pact = "tickets"
	Type = "ticket"

	values = 1 << 12 // distinct ones
)

// firstStamp is 2026-01-01, so that no stamp is ever ahead of a clock.
var firstStamp = crdt.StampOf(1_767_225_600_000, 0)

// Fields of a record, in order of their names. They are of one length, which
// makes all keys equally long.
func Fields() []string {
	return []string{
		"availability", "measurements", "organization", "registration",
		"relationship", "requirements", "satisfaction", "verification",
	}
}

const fieldsOfRecord = 8

// Sites of the writers, in order: writer n is agent main of site n.
func Sites() []string { return []string{"acme", "aida", "apex", "aria"} }

// WritersMax is how many writers there can be.
const WritersMax = 4

// Shape is one workload.
type Shape struct {
	Registers int
	Writers   int // 1 to WritersMax
	Contested int // one op in so many; 0 for none
	Seed      uint64
}

// Validate reports what cannot be played.
func (s Shape) Validate() error {
	switch {
	case s.Writers < 1 || s.Writers > WritersMax:
		return fmt.Errorf("workload: %d writers, 1 to %d", s.Writers, WritersMax)
	case s.Registers < s.Writers || s.Registers > 1<<31:
		return fmt.Errorf("workload: %d registers for %d writers", s.Registers, s.Writers)
	case s.Contested < 0 || s.Contested > 0 && s.Writers == 1:
		return fmt.Errorf("workload: one op in %d contested, by %d writers", s.Contested, s.Writers)
	}
	return nil
}

// Op is one assignment.
type Op struct {
	Register uint32
	Writer   int
	Seq      uint64 // of its writer, from 1 without gaps
	Pred     uint64 // seq of the writer's own version that it replaces; 0 for none
	Stamp    uint64
	Value    []byte // shared by many ops: never change it
}

// Record returns the 16 bytes that name the record of a register. They begin
// with a hash, so that neighbours in time are not neighbours in a sorted store.
func (s Shape) Record(register uint32) (id [16]byte) {
	n := uint64(register / fieldsOfRecord)
	binary.BigEndian.PutUint64(id[:8], mix(s.Seed^n))
	binary.BigEndian.PutUint64(id[8:], n+1) // no id is zero
	return id
}

// Field returns the name of a register within its record.
func (s Shape) Field(register uint32) string { return fieldNames[register%fieldsOfRecord] }

var fieldNames = Fields()

// Register is the inverse of Record and Field.
func (s Shape) Register(record [16]byte, field string) (register uint32, ok bool) {
	n := binary.BigEndian.Uint64(record[8:]) - 1
	for i, name := range fieldNames {
		if r := n*fieldsOfRecord + uint64(i); name == field && r < uint64(s.Registers) {
			return uint32(r), true
		}
	}
	return 0, false
}

const hexDigits = "0123456789abcdef"

// AppendKey appends the register's name as text: pact/type/record/field.
func (s Shape) AppendKey(b []byte, register uint32) []byte {
	b = append(b, Pact+"/"+Type+"/"...)
	for _, c := range s.Record(register) {
		b = append(b, hexDigits[c>>4], hexDigits[c&15])
	}
	b = append(b, '/')
	return append(b, s.Field(register)...)
}

// Key is AppendKey as a string.
func (s Shape) Key(register uint32) string {
	return string(s.AppendKey(make([]byte, 0, KeyBytes), register))
}

// owned returns how many registers a writer owns: those that leave its number
// when divided by Writers.
func (s Shape) owned(writer int) int { return (s.Registers - writer + s.Writers - 1) / s.Writers }

// Writer makes the ops of one writer. For one goroutine.
type Writer struct {
	shape  Shape
	number int
	seq    uint64
	filled int
	draw   *rand.Rand
	values [][]byte
	last   []uint32          // by own register: seq of the newest version, 0 for none
	raids  map[uint32]uint64 // by somebody else's register: seq of the newest version
}

// Writer returns the writer of that number at its beginning. s must be valid.
func (s Shape) Writer(number int) *Writer {
	return &Writer{
		shape: s, number: number, draw: rand.New(rand.NewPCG(s.Seed, uint64(number))),
		values: pool(s.Seed), last: make([]uint32, s.owned(number)), raids: map[uint32]uint64{},
	}
}

// Filled reports whether every register of the writer has been written.
func (w *Writer) Filled() bool { return w.filled == len(w.last) }

// Seq returns the seq of the newest op.
func (w *Writer) Seq() uint64 { return w.seq }

// Next returns the next op.
func (w *Writer) Next() Op {
	w.seq++
	op := Op{
		Writer: w.number, Seq: w.seq, Stamp: stampOf(w.seq),
		Value: w.values[mix(w.seq<<2|uint64(w.number))%values],
	}
	s := &w.shape
	if w.Filled() && s.Contested > 0 && w.seq%uint64(s.Contested) == 0 {
		victim := (w.number + 1 + w.draw.IntN(s.Writers-1)) % s.Writers
		op.Register = uint32(w.draw.IntN(s.owned(victim))*s.Writers + victim)
		w.raids[op.Register] = w.seq
		return op
	}
	n := w.filled
	if w.Filled() {
		n = w.draw.IntN(len(w.last))
	} else {
		w.filled++
	}
	op.Register = uint32(n*s.Writers + w.number)
	op.Pred = uint64(w.last[n])
	w.last[n] = uint32(w.seq)
	return op
}

// Contest makes one op in so many contested from now on; 0 for none.
func (w *Writer) Contest(oneIn int) { w.shape.Contested = oneIn }

func stampOf(seq uint64) uint64 { return uint64(firstStamp) + seq }

// Version is what orders the versions of a register: stamp, then writer, since
// Sites are sorted.
type Version struct {
	Stamp  uint64
	Writer int
}

// Less reports whether v loses against u.
func (v Version) Less(u Version) bool {
	return v.Stamp < u.Stamp || v.Stamp == u.Stamp && v.Writer < u.Writer
}

// Winner returns what must stand in a register when all ops that these writers,
// all of one shape, have made are applied; zero if it was never written.
func Winner(writers []*Writer, register uint32) (v Version) {
	for _, w := range writers {
		seq := w.raids[register]
		if int(register)%w.shape.Writers == w.number {
			seq = uint64(w.last[int(register)/w.shape.Writers])
		}
		if u := (Version{stampOf(seq), w.number}); seq > 0 && v.Less(u) {
			v = u
		}
	}
	return v
}

// pool makes the values: envelopes of text, of exactly ValueBytes each.
func pool(seed uint64) [][]byte {
	const letters = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789"
	overhead := len(crdt.Plain(value.Text(string(make([]byte, ValueBytes/2))))) - ValueBytes/2
	draw := rand.New(rand.NewPCG(seed, 0xda7a))
	text := make([]byte, ValueBytes-overhead)
	all := make([][]byte, values)
	for i := range all {
		for j := range text {
			text[j] = letters[draw.IntN(len(letters))]
		}
		all[i] = crdt.Plain(value.Text(string(text)))
	}
	return all
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
