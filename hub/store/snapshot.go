package store

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/entente-sync/entente/hub/codec"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/wire"
)

// SnapshotFormat is the newest version byte of a snapshot, which may change apart
// from the store's. Version 2 has history; a state in which no pact keeps any is
// written as version 1, which an older node of the hub reads.
const SnapshotFormat = 2

const (
	snapshotMagic  = "entente hub state\n"
	kindTrailer    = 'z'
	recordBytesMax = 4 << 20
	recordHeader   = 1 + 4 // kind, length
)

// WriteSnapshot streams a full image: magic, format, the meta record, one record
// per row, and a trailer with their number and the SHA-256 of everything before it.
func WriteSnapshot(w io.Writer, img *state.Image) error {
	return writeSnapshot(w, img, func(out *recordWriter) error {
		for _, s := range img.Registers {
			out.record(kindRegister, func(b []byte) []byte { return appendRegister(b, s) })
		}
		if img.History == nil || img.Meta.ClockMillis == 0 {
			return nil
		}
		return img.History.Each(out.kept)
	})
}

// WriteFrozen is WriteSnapshot for a state that need not fit into memory.
func WriteFrozen(w io.Writer, f *state.Frozen) error {
	head := &state.Image{Meta: f.Meta, Roster: f.Roster, Pacts: f.Pacts, Authors: f.Authors}
	return writeSnapshot(w, head, func(out *recordWriter) error {
		err := f.Registers(func(message []byte) error {
			out.record(kindRegister, func(b []byte) []byte { return append(b, message...) })
			return out.err
		})
		if err != nil {
			return err
		}
		return f.History(out.kept)
	})
}

func (o *recordWriter) kept(message []byte) error {
	o.record(kindKept, func(b []byte) []byte { return append(b, message...) })
	return o.err
}

// writeSnapshot writes versions as it is told, and everything else of img.
func writeSnapshot(w io.Writer, img *state.Image, versions func(*recordWriter) error) error {
	buf := bufio.NewWriterSize(w, 256<<10)
	out := &recordWriter{w: buf, sum: sha256.New()}
	format := byte(1)
	if img.Meta.ClockMillis > 0 {
		format = SnapshotFormat
	}
	out.raw(append([]byte(snapshotMagic), format))
	out.record(kindMeta, func(b []byte) []byte { return appendMeta(b, &img.Meta) })
	if img.Roster != nil {
		out.record(kindRoster, func(b []byte) []byte { return appendRoster(b, img.Roster) })
	}
	for i := range img.Pacts {
		out.record(kindPact, func(b []byte) []byte { return appendPact(b, &img.Pacts[i]) })
	}
	for i := range img.Authors {
		out.record(kindAuthor, func(b []byte) []byte { return appendAuthor(b, &img.Authors[i]) })
	}
	if err := versions(out); err != nil && out.err == nil {
		out.err = err
	}
	end := wire.SnapshotTrailer{Records: out.count, SHA256: [sha256.Size]byte(out.sum.Sum(nil))}
	out.record(kindTrailer, func(b []byte) []byte { return wire.AppendTrailer(b, &end) })
	if out.err == nil {
		out.err = buf.Flush()
	}
	if out.err != nil {
		return fmt.Errorf("hub snapshot: write: %w", out.err)
	}
	return nil
}

// recordWriter writes records and remembers the first error.
type recordWriter struct {
	w     io.Writer
	sum   hash.Hash // of everything written
	count uint64
	buf   []byte
	err   error
}

func (o *recordWriter) record(kind byte, value func([]byte) []byte) {
	b := value(append(o.buf[:0], kind, 0, 0, 0, 0))
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-recordHeader))
	b = binary.BigEndian.AppendUint32(b, codec.Checksum(b))
	o.raw(b)
	o.buf = b
	o.count++
}

func (o *recordWriter) raw(b []byte) {
	if o.err == nil {
		o.sum.Write(b)
		_, o.err = o.w.Write(b)
	}
}

// ReadSnapshot reads what WriteSnapshot wrote, to the trailer and not beyond
// the stream's end: bytes after the trailer are refused. An error wraps ErrDamaged
// (cut off, changed), ErrNewer, or is the reader's own. It does not compare the
// rows with the digests in Meta: state.Machine.Restore does.
func ReadSnapshot(r io.Reader) (*state.Image, error) {
	img, names := &state.Image{}, newInterner()
	var history spooler
	err := readSnapshot(r, func(kind byte, value []byte) error {
		if kind == kindKept {
			return history.add(value)
		}
		return add(img, kind, value, names)
	})
	if err == nil {
		img.History, err = history.end()
	}
	if err != nil {
		return nil, fmt.Errorf("hub snapshot: %w", err)
	}
	return img, nil
}

// errEnough ends readSnapshot early, with success.
var errEnough = errors.New("enough")

// readSnapshot hands each record before the trailer to visit, which must not
// keep its bytes.
func readSnapshot(r io.Reader, visit func(kind byte, value []byte) error) error {
	in := &recordReader{r: bufio.NewReaderSize(r, 256<<10), sum: sha256.New()}
	if err := in.head(); err != nil {
		return err
	}
	for {
		kind, value, err := in.record()
		switch {
		case err != nil:
			return err
		case kind == kindTrailer && in.count > 0:
			return in.trailer(value)
		case (in.count == 1) != (kind == kindMeta):
			return fmt.Errorf("%w: record %d of kind %q", ErrDamaged, in.count, kind)
		}
		if err := visit(kind, value); errors.Is(err, errEnough) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// recordReader reads records; what it returns is valid until the next one.
type recordReader struct {
	r     *bufio.Reader
	sum   hash.Hash // of everything before the trailer
	count uint64    // of records before the trailer
	buf   []byte
}

// head checks what the stream begins with.
func (in *recordReader) head() error {
	head := make([]byte, len(snapshotMagic)+1)
	if err := fill(in.r, head); err != nil {
		return err
	}
	if !bytes.HasPrefix(head, []byte(snapshotMagic)) {
		return fmt.Errorf("%w: this is no snapshot of a hub", ErrDamaged)
	}
	switch format := head[len(snapshotMagic)]; {
	case format > SnapshotFormat:
		return fmt.Errorf("%w: snapshot format %d, known up to %d", ErrNewer, format, SnapshotFormat)
	case format == 0:
		return fmt.Errorf("%w: snapshot format 0", ErrDamaged)
	}
	in.sum.Write(head)
	return nil
}

func (in *recordReader) record() (kind byte, value []byte, err error) {
	var head [recordHeader]byte
	if err := fill(in.r, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > recordBytesMax {
		return 0, nil, fmt.Errorf("%w: a record of %d bytes", ErrDamaged, size)
	}
	if need := int(size) + 4; cap(in.buf) < need {
		in.buf = make([]byte, need)
	}
	b := in.buf[:size+4]
	if err := fill(in.r, b); err != nil {
		return 0, nil, err
	}
	value = b[:size]
	if codec.Checksum(head[:], value) != binary.BigEndian.Uint32(b[size:]) {
		return 0, nil, fmt.Errorf("%w: record %d does not match its checksum", ErrDamaged, in.count+1)
	}
	if head[0] != kindTrailer {
		in.sum.Write(head[:])
		in.sum.Write(b)
		in.count++
	}
	return head[0], value, nil
}

// trailer checks the end.
func (in *recordReader) trailer(value []byte) error {
	end, err := wire.ReadTrailer(value)
	if err != nil {
		return typed(err)
	}
	if end.Records != in.count || !bytes.Equal(end.SHA256[:], in.sum.Sum(nil)) {
		return fmt.Errorf("%w: the trailer does not match %d records", ErrDamaged, in.count)
	}
	if _, err := in.r.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.Join(fmt.Errorf("%w: bytes after the trailer", ErrDamaged), err)
	}
	return nil
}

// fill reads all of b; a stream that ends before is damaged.
func fill(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: cut off", ErrDamaged)
	}
	return err
}
