package replica

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/entente-sync/entente/hub/command"
)

// Bounds of one message on the raft port. Raft's own decoder has none: it makes
// room for whatever a length says, and its main loop takes whatever was decoded.
const (
	appendEntriesMax = 64 // entries of one message, see raftConfig
	frameBytesMax    = appendEntriesMax*(command.EntryBytesMax+entryOverhead) + 64<<10
	entryOverhead    = 512 // of an entry in MessagePack, names of its fields included
	frameMapMax      = 32  // fields of one object
	frameDepthMax    = 4   // message, entries, entry, field
	frameExtMax      = 32  // bytes of an extension type: times
	frameChunk       = 64 << 10
)

// errShape reports bytes that are no message of raft, whatever they mean.
var errShape = errors.New("not a message of raft")

// frame is one message of raft as it stands on the wire: its kind, then one value
// in MessagePack. Reading one allocates no more than has arrived, and no more than
// frameBytesMax.
type frame struct {
	bytes []byte // kind and value
}

// read replaces f with the next message of in, whose kind was read already.
func (f *frame) read(kind byte, in io.Reader) error {
	f.bytes = append(f.bytes[:0], kind)
	return f.value(in, 1)
}

// value reads one value at a depth.
func (f *frame) value(in io.Reader, depth int) error {
	if depth > frameDepthMax {
		return fmt.Errorf("%w: nested deeper than %d", errShape, frameDepthMax)
	}
	tag, err := f.fixed(in, 1)
	if err != nil {
		return err
	}
	switch t := byte(tag); {
	case t <= 0x7f, t >= 0xe0, t == 0xc0, t == 0xc2, t == 0xc3: // small numbers, nil, false, true
		return nil
	case t <= 0x8f:
		return f.values(in, depth, 2*uint64(t&0x0f), 2*frameMapMax)
	case t <= 0x9f:
		return f.values(in, depth, uint64(t&0x0f), appendEntriesMax)
	case t <= 0xbf:
		return f.take(in, uint64(t&0x1f))
	default:
		return f.long(in, depth, t)
	}
}

// long reads the rest of a value whose length, if it has one, follows its tag.
func (f *frame) long(in io.Reader, depth int, tag byte) error {
	switch tag {
	case 0xcc, 0xd0:
		return f.take(in, 1)
	case 0xcd, 0xd1:
		return f.take(in, 2)
	case 0xca, 0xce, 0xd2:
		return f.take(in, 4)
	case 0xcb, 0xcf, 0xd3:
		return f.take(in, 8)
	case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8: // extensions of 1, 2, 4, 8, 16 bytes
		return f.take(in, 1+1<<(tag-0xd4))
	case 0xc4, 0xc5, 0xc6:
		return f.counted(in, 1<<(tag-0xc4), frameBytesMax, f.takes(in))
	case 0xd9, 0xda, 0xdb:
		return f.counted(in, 1<<(tag-0xd9), frameBytesMax, f.takes(in))
	case 0xc7, 0xc8, 0xc9:
		return f.counted(in, 1<<(tag-0xc7), frameExtMax, func(n uint64) error { return f.take(in, n+1) })
	case 0xdc, 0xdd:
		return f.counted(in, 2<<(tag-0xdc), appendEntriesMax, func(n uint64) error { return f.values(in, depth, n, appendEntriesMax) })
	case 0xde, 0xdf:
		return f.counted(in, 2<<(tag-0xde), frameMapMax, func(n uint64) error { return f.values(in, depth, 2*n, 2*frameMapMax) })
	}
	return fmt.Errorf("%w: tag %#x", errShape, tag)
}

func (f *frame) takes(in io.Reader) func(uint64) error {
	return func(n uint64) error { return f.take(in, n) }
}

// counted reads a length of so many bytes and hands it on if it is at most limit.
func (f *frame) counted(in io.Reader, bytes int, limit uint64, then func(uint64) error) error {
	n, err := f.fixed(in, bytes)
	if err != nil {
		return err
	}
	if n > limit {
		return fmt.Errorf("%w: %d of what may be %d", errShape, n, limit)
	}
	return then(n)
}

func (f *frame) values(in io.Reader, depth int, n, limit uint64) error {
	if n > limit {
		return fmt.Errorf("%w: %d values where %d may be", errShape, n, limit)
	}
	for range n {
		if err := f.value(in, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// fixed reads a big-endian number of 1, 2, 4 or 8 bytes.
func (f *frame) fixed(in io.Reader, bytes int) (uint64, error) {
	var raw [8]byte
	if err := f.take(in, uint64(bytes)); err != nil {
		return 0, err
	}
	copy(raw[8-bytes:], f.bytes[len(f.bytes)-bytes:])
	return binary.BigEndian.Uint64(raw[:]), nil
}

// take appends n bytes, making room for them as they come.
func (f *frame) take(in io.Reader, n uint64) error {
	if n > frameBytesMax || uint64(len(f.bytes))+n > frameBytesMax {
		return fmt.Errorf("%w: longer than %d bytes", errShape, frameBytesMax)
	}
	for n > 0 {
		from, step := len(f.bytes), int(min(n, frameChunk))
		f.bytes = append(f.bytes, make([]byte, step)...)
		if _, err := io.ReadFull(in, f.bytes[from:]); err != nil {
			return noEOF(err)
		}
		n -= uint64(step)
	}
	return nil
}

// noEOF tells the end of a connection within a message from one between two.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// shaped reports whether b is one value and nothing else.
func shaped(b []byte) bool {
	in := bytes.NewReader(b)
	var f frame
	return f.value(in, 1) == nil && in.Len() == 0
}
