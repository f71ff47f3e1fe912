package backup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"filippo.io/age"

	"github.com/entente-sync/entente/proto/durable"
)

// Create writes a backup into a new file, durably, and reads all of it back
// before it gets its name: a file at path is whole and verified. It never
// overwrites (CodeExists). body writes a snapshot.
func Create(path string, h Header, recipients []age.Recipient, body func(io.Writer) error) (Report, error) {
	if _, err := os.Lstat(path); err == nil {
		return Report{}, fault(CodeExists, fmt.Errorf("%s is there already", path))
	}
	proof, err := newProof(recipients)
	if err != nil {
		return Report{}, err
	}
	partial, err := writeAside(path, func(w io.Writer) error { return Write(w, h, proof.recipients, body) })
	if err != nil {
		return Report{}, err
	}
	report, err := CheckFile(partial, proof.identities)
	if err == nil {
		err = report.Header.same(&h)
	}
	if err != nil {
		return Report{}, errors.Join(fault(CodeUnverified, fmt.Errorf("read back %s: %w", path, err)), os.Remove(partial))
	}
	return report, publish(partial, path)
}

// Copy is Create with what another backup holds, which may be sealed otherwise.
func Copy(path string, r io.Reader, identities []age.Identity, recipients []age.Recipient) (Report, error) {
	from, err := open(r, identities)
	if err != nil {
		return Report{}, err
	}
	return Create(path, from.header, recipients, func(w io.Writer) error {
		_, err := io.Copy(w, from.body)
		if from.source.err != nil {
			return from.coded(err)
		}
		return err
	})
}

// CheckFile is Check of a file.
func CheckFile(path string, identities []age.Identity) (Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return Report{}, err
	}
	defer f.Close()
	return Check(f, identities)
}

// partialMark is in the names of files that are not finished.
const partialMark = ".partial-"

// writeAside writes a file beside path and syncs it. After an error there is none.
func writeAside(path string, write func(io.Writer) error) (partial string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+partialMark+"*")
	if err != nil {
		return "", err
	}
	return f.Name(), durable.Fill(f, write)
}

// publish gives a file its name unless another has it, durably.
func publish(partial, path string) error {
	err := os.Link(partial, path) // fails if path exists, where a rename would replace it
	switch {
	case errors.Is(err, fs.ErrExist):
		return errors.Join(fault(CodeExists, fmt.Errorf("%s is there already", path)), os.Remove(partial))
	case err != nil: // a file system without links
		return durable.Replace(partial, path)
	}
	if err := os.Remove(partial); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// same reports a header that is not the one that was to be written.
func (h *Header) same(want *Header) error {
	if h.Hub != want.Hub || h.Epoch != want.Epoch || h.Index != want.Index || h.Created.UnixMilli() != want.Created.UnixMilli() {
		return errors.New("it is another backup")
	}
	return nil
}

// proof lets the writer of a sealed backup read it back: besides the recipients
// it is sealed to a key that exists only in this process, until it is verified.
type proof struct {
	recipients []age.Recipient
	identities []age.Identity
}

// newProof returns the empty proof for no recipients.
func newProof(recipients []age.Recipient) (proof, error) {
	if len(recipients) == 0 {
		return proof{}, nil
	}
	// age refuses to mix post-quantum recipients with others.
	if _, quantum := recipients[0].(*age.HybridRecipient); quantum {
		id, err := age.GenerateHybridIdentity()
		if err != nil {
			return proof{}, fmt.Errorf("backup: %w", err)
		}
		return proof{append(recipients[:len(recipients):len(recipients)], id.Recipient()), []age.Identity{id}}, nil
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return proof{}, fmt.Errorf("backup: %w", err)
	}
	return proof{append(recipients[:len(recipients):len(recipients)], id.Recipient()), []age.Identity{id}}, nil
}
