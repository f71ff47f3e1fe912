// Package backup is the file that an operator keeps of a hub: a header, then a
// snapshot of the merged state, sealed with age if recipients are given. It writes
// and checks such files, keeps them at a destination (directory, bucket) on a
// schedule, and makes a new node's directory out of one. It knows no raft and no
// network protocol but the destination's.
//
// The layout is in proto/entente/storage/v1/storage.proto and in hub/DESIGN.md.
package backup

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"filippo.io/age"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/codec"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/proto/wire"
)

// Format is the version byte of a backup; the snapshot inside has its own.
const Format = 1

const (
	magic          = "entente hub backup\n"
	headerBytesMax = 64 << 10
)

// Header says what a backup holds. It can be read without the key of a sealed
// one.
type Header struct {
	Hub   command.HubID
	Epoch crdt.Epoch
	// Index is the newest log entry in the state, Term one that is not lower than
	// that entry's.
	Index, Term uint64
	Node        string // that made the backup
	Software    string
	Created     time.Time // by that node's clock; whole milliseconds
	Voters      []string  // of the hub then, for people
	Sealed      bool      // the body is encrypted; Write sets it
}

// Write writes a backup: the header, and what body writes, which must be a
// snapshot of hub/store. With recipients only their identities can read it.
func Write(w io.Writer, h Header, recipients []age.Recipient, body func(io.Writer) error) error {
	h.Sealed = len(recipients) > 0
	head := h.encode()
	if _, err := w.Write(head); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if !h.Sealed {
		return writeBody(w, head, body)
	}
	sealed, err := age.Encrypt(w, recipients...)
	if err == nil {
		err = writeBody(sealed, head, body)
	}
	if err == nil {
		err = sealed.Close()
	}
	if err != nil {
		return fmt.Errorf("backup: seal: %w", err)
	}
	return nil
}

// writeBody binds the body to the header: nobody can put one before the sealed
// body of another.
func writeBody(w io.Writer, head []byte, body func(io.Writer) error) error {
	sum := sha256.Sum256(head)
	if _, err := w.Write(sum[:]); err != nil {
		return err
	}
	return body(w)
}

func (h *Header) encode() []byte {
	b := append([]byte(magic), Format, 0, 0, 0, 0)
	b = wire.AppendBackupHeader(b, &wire.BackupHeader{
		Hub: h.Hub, Epoch: h.Epoch, Index: h.Index, Term: h.Term, Node: h.Node, Software: h.Software,
		CreatedMillis: h.Created.UnixMilli(), Voters: h.Voters, Sealed: h.Sealed,
	})
	binary.BigEndian.PutUint32(b[len(magic)+1:], uint32(len(b)-len(magic)-5))
	return binary.BigEndian.AppendUint32(b, codec.Checksum(b))
}

// readHeader returns the header, and its bytes as they were read.
func readHeader(r io.Reader) (h Header, head []byte, err error) {
	head = make([]byte, len(magic)+5)
	if err := fill(r, head); err != nil {
		return h, nil, err
	}
	if string(head[:len(magic)]) != magic {
		return h, nil, fault(CodeForeign, errors.New("this is no backup of a hub"))
	}
	switch format := head[len(magic)]; {
	case format > Format:
		return h, nil, fault(CodeNewer, fmt.Errorf("backup format %d, known up to %d", format, Format))
	case format == 0:
		return h, nil, fault(CodeDamaged, errors.New("backup format 0"))
	}
	size := binary.BigEndian.Uint32(head[len(magic)+1:])
	if size > headerBytesMax {
		return h, nil, fault(CodeDamaged, fmt.Errorf("a header of %d bytes", size))
	}
	rest := make([]byte, size+4)
	if err := fill(r, rest); err != nil {
		return h, nil, err
	}
	body := rest[:size]
	if codec.Checksum(head, body) != binary.BigEndian.Uint32(rest[size:]) {
		return h, nil, fault(CodeDamaged, errors.New("the header does not match its checksum"))
	}
	m, err := wire.ReadBackupHeader(body)
	if err != nil {
		return h, nil, fault(CodeDamaged, err)
	}
	return Header{
		Hub: m.Hub, Epoch: m.Epoch, Index: m.Index, Term: m.Term, Node: m.Node, Software: m.Software,
		Created: time.UnixMilli(m.CreatedMillis).UTC(), Voters: m.Voters, Sealed: m.Sealed,
	}, append(head, rest...), nil
}

// fill reads all of b; what ends before is damaged.
func fill(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fault(CodeDamaged, errors.New("the file is cut off"))
	}
	return err
}
