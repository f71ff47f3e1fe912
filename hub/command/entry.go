package command

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/codec"
)

// Format is the version byte of an entry. Version 1 is the first. Entries of
// every version end with the CRC32C (big-endian) of all bytes before it.
const Format = 1

// EntryBytesMax bounds an encoded entry: larger ones delay heartbeats.
const EntryBytesMax = 256 << 10

const (
	headerBytes  = 1 + 8 + binary.MaxVarintLen64 // at most
	trailerBytes = 4
	entryBytes   = 1 + 8 + 1 + trailerBytes // at least
)

// Errors of decoding, to be matched with errors.Is.
var (
	// ErrChecksum: the bytes are not those that were written. Stop; rebuild
	// from the other replicas.
	ErrChecksum = errors.New("log entry is damaged: checksum differs")
	// ErrNewer: a newer program wrote the entry. Stop; upgrade this one.
	ErrNewer = errors.New("log entry is newer than this program")
	// ErrKind: a newer program wrote a command of the entry. Same cure.
	ErrKind = errors.New("log entry has a command that this program does not know")
	// ErrMalformed: the checksum is right and the content is not.
	ErrMalformed = errors.New("malformed log entry")
)

// Entry is one entry of the log. Nothing in it is read from a clock later on.
type Entry struct {
	// TimeMillis is the leader's clock when it made the entry, Unix milliseconds.
	TimeMillis int64
	// DriftMaxMillis is how far a stamp may be ahead of TimeMillis.
	DriftMaxMillis uint64
	Commands       []Command
}

// Encode returns the bytes of e. It does not ask whether they fit into
// EntryBytesMax: a Builder does.
func (e *Entry) Encode() []byte {
	b := appendHeader(nil, e.TimeMillis, e.DriftMaxMillis)
	for _, c := range e.Commands {
		b = appendCommand(b, c)
	}
	return appendTrailer(b)
}

// Decode reads one entry, all of b. Values and documents alias b. Any input
// gives an entry or an error that wraps one of those above; it never panics.
func Decode(b []byte) (Entry, error) { return new(Decoder).Decode(b) }

// Decoder decodes one entry after the other in the same memory. The zero Decoder
// is ready; it is for one goroutine.
type Decoder struct {
	names     crdt.Names
	commands  []Command
	publishes []*Publish // handed out by publish
	used      int        // of publishes, by the entry at hand
	ops       []crdt.Op
}

// publish returns a Publish that no command of this entry is.
func (d *Decoder) publish() *Publish {
	if d.used == len(d.publishes) {
		d.publishes = append(d.publishes, new(Publish))
	}
	d.used++
	return d.publishes[d.used-1]
}

// Decode is the function Decode. The entry is valid until the next call, names
// (which are strings) and what aliases b for ever.
func (d *Decoder) Decode(b []byte) (Entry, error) {
	d.commands, d.used, d.ops = d.commands[:0], 0, d.ops[:0]
	if len(b) < entryBytes || len(b) > EntryBytesMax {
		return Entry{}, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	body, trailer := b[:len(b)-trailerBytes], b[len(b)-trailerBytes:]
	if codec.Checksum(body) != binary.BigEndian.Uint32(trailer) {
		return Entry{}, fmt.Errorf("%w: %d bytes", ErrChecksum, len(b))
	}
	r := codec.NewReader(body)
	switch format := r.Byte(); {
	case format > Format:
		return Entry{}, fmt.Errorf("%w: format %d, known up to %d", ErrNewer, format, Format)
	case format == 0:
		return Entry{}, fmt.Errorf("%w: format 0", ErrMalformed)
	}
	e := Entry{TimeMillis: int64(r.Fixed64()), DriftMaxMillis: r.Uvarint(1<<63 - 1)}
	for r.Ok() && r.Len() > 0 {
		c, err := d.readCommand(r)
		if err != nil {
			return Entry{}, err
		}
		d.commands = append(d.commands, c)
	}
	if !r.Done() {
		return Entry{}, fmt.Errorf("%w: header", ErrMalformed)
	}
	e.Commands = d.commands
	return e, nil
}

// Builder joins commands into one entry of at most EntryBytesMax, and encodes
// each of them once. It is for one goroutine.
type Builder struct {
	buf   []byte
	count int
}

// NewBuilder begins an entry.
func NewBuilder(timeMillis int64, driftMaxMillis uint64) *Builder {
	return &Builder{buf: appendHeader(make([]byte, 0, 4096), timeMillis, driftMaxMillis)}
}

// Add appends c, or reports false if c does not fit any more. A Publish that
// does not fit into an empty Builder must be split first.
func (b *Builder) Add(c Command) bool {
	was := len(b.buf)
	b.buf = appendCommand(b.buf, c)
	if len(b.buf)+trailerBytes > EntryBytesMax {
		b.buf = b.buf[:was]
		return false
	}
	b.count++
	return true
}

// Count returns how many commands were added.
func (b *Builder) Count() int { return b.count }

// Bytes finishes the entry. The Builder must not be used afterwards.
func (b *Builder) Bytes() []byte { return appendTrailer(b.buf) }

func appendHeader(b []byte, timeMillis int64, driftMaxMillis uint64) []byte {
	b = append(b, Format)
	b = codec.AppendFixed64(b, uint64(timeMillis))
	return codec.AppendUvarint(b, driftMaxMillis)
}

func appendTrailer(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, codec.Checksum(b))
}
