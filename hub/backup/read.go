package backup

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"filippo.io/age"

	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/hub/store"
)

// Report is what Check found in a backup.
type Report struct {
	Header
	store.Checked
	// Bytes and SHA256 are of the whole file, as it is stored.
	Bytes  int64
	SHA256 [sha256.Size]byte
}

// Inspect reads the header, and the summary of the state unless the backup is
// sealed and no identity is given: then meta is nil. It reads no further, so a file
// that is damaged behind that is not noticed: Check does.
func Inspect(r io.Reader, identities []age.Identity) (h Header, meta *state.Meta, err error) {
	f, err := open(r, identities)
	if err != nil {
		if errors.Is(err, &Fault{Code: CodeSealed}) {
			return f.header, nil, nil
		}
		return Header{}, nil, err
	}
	m, err := store.SnapshotMeta(f.body)
	if err == nil {
		err = f.header.matches(&m)
	}
	if err != nil {
		return Header{}, nil, f.coded(err)
	}
	return f.header, &m, nil
}

// Check reads all of r and keeps none of it: header, every checksum, the
// authenticated encryption, each pact's digest computed anew. See
// store.CheckSnapshot for the one thing that only Load sees.
func Check(r io.Reader, identities []age.Identity) (Report, error) {
	whole := &meter{r: r, sum: sha256.New()}
	f, err := open(whole, identities)
	if err != nil {
		return Report{}, err
	}
	checked, err := store.CheckSnapshot(f.body)
	if err == nil {
		err = f.header.matches(&checked.Meta)
	}
	if err != nil {
		return Report{}, f.coded(err)
	}
	return Report{Header: f.header, Checked: checked, Bytes: whole.n, SHA256: [sha256.Size]byte(whole.sum.Sum(nil))}, nil
}

// Load reads a backup into memory and checks all of it, as Check does and by
// restoring the state.
func Load(r io.Reader, identities []age.Identity) (Header, *state.Machine, error) {
	f, err := open(r, identities)
	if err != nil {
		return Header{}, nil, err
	}
	img, err := store.ReadSnapshot(f.body)
	if err == nil {
		err = f.header.matches(&img.Meta)
	}
	m := state.New()
	if err == nil {
		err = m.Restore(img)
	}
	if err != nil {
		return Header{}, nil, f.coded(err)
	}
	return f.header, m, nil
}

// VerifyFile checks a backup as Check does and as Load does. It is for people who
// want to know everything: it takes the memory of the state.
func VerifyFile(path string, identities []age.Identity) (Report, error) {
	report, err := CheckFile(path, identities)
	if err != nil {
		return Report{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return Report{}, err
	}
	defer f.Close()
	_, _, err = Load(f, identities)
	return report, err
}

// matches reports a header that is not the snapshot's.
func (h *Header) matches(m *state.Meta) error {
	if h.Hub != m.Hub || h.Epoch != m.Epoch || h.Index != m.Index {
		return fault(CodeDamaged, fmt.Errorf("the header tells of hub %s at entry %d, the state is of hub %s at entry %d",
			h.Hub, h.Index, m.Hub, m.Index))
	}
	return nil
}

// file is an open backup, its body not read yet.
type file struct {
	header Header
	body   io.Reader
	source *source
}

// open reads up to the body. If the backup is sealed and identities is empty, the
// error is CodeSealed and the header is there all the same.
func open(r io.Reader, identities []age.Identity) (*file, error) {
	f := &file{source: &source{r: r}}
	var head []byte
	var err error
	if f.header, head, err = readHeader(f.source); err != nil {
		return f, err
	}
	f.body = f.source
	if f.header.Sealed {
		if len(identities) == 0 {
			return f, fault(CodeSealed, errors.New("the backup is encrypted"))
		}
		var mismatch *age.NoIdentityMatchError
		f.body, err = age.Decrypt(f.source, identities...)
		if errors.As(err, &mismatch) {
			return f, fault(CodeIdentity, err)
		}
		if err != nil {
			return f, f.coded(err)
		}
	}
	var bound [sha256.Size]byte
	if err := fill(f.body, bound[:]); err != nil {
		return f, f.coded(err)
	}
	if want := sha256.Sum256(head); !bytes.Equal(bound[:], want[:]) {
		return f, fault(CodeDamaged, errors.New("the body belongs to another header"))
	}
	return f, nil
}

// coded tells an error of the source, which says nothing about the backup, from
// everything else, which is damage unless it has another name.
func (f *file) coded(err error) error {
	if f.source.err != nil {
		return fmt.Errorf("read the backup: %w", f.source.err)
	}
	err = coded(err)
	var known *Fault
	if err != nil && f.header.Sealed && !errors.As(err, &known) {
		return fault(CodeDamaged, err) // age has no type for it
	}
	return err
}

// source remembers why reading failed.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// meter counts and hashes what is read.
type meter struct {
	r   io.Reader
	n   int64
	sum hash.Hash
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.n += int64(n)
	m.sum.Write(p[:n])
	return n, err
}
