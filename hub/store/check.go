package store

import (
	"errors"
	"fmt"
	"io"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/pact"
)

// Checked is what CheckSnapshot counted.
type Checked struct {
	Meta                      state.Meta
	Pacts, Authors, Registers uint64
	History                   uint64 // old and current versions that pacts keep
}

// SnapshotMeta reads a snapshot's first record only, and checks no more than that.
func SnapshotMeta(r io.Reader) (meta state.Meta, err error) {
	err = readSnapshot(r, func(_ byte, value []byte) error {
		if meta, err = readMeta(value); err != nil {
			return err
		}
		return errEnough
	})
	if err != nil {
		return state.Meta{}, fmt.Errorf("hub snapshot: %w", err)
	}
	return meta, nil
}

// CheckSnapshot reads a whole snapshot and keeps none of it, so it costs the
// same memory whatever the state's size: every checksum, the trailer, every row,
// and each pact's digest, computed anew from the rows. What it cannot see, since
// it remembers no row, is whether two rows that are both there contradict each
// other: state.Machine.Restore does. Errors are those of ReadSnapshot.
func CheckSnapshot(r io.Reader) (Checked, error) {
	t := &tally{pacts: map[crdt.Pact]*command.PactDigest{}, names: newInterner()}
	err := readSnapshot(r, t.row)
	if err == nil {
		err = t.compare()
	}
	if err != nil {
		return Checked{}, fmt.Errorf("hub snapshot: %w", err)
	}
	return t.Checked, nil
}

// tally sums up rows as a state would.
type tally struct {
	Checked
	pacts map[crdt.Pact]*command.PactDigest
	names *interner
	known crdt.Names
	one   state.Image // the row at hand
}

func (t *tally) row(kind byte, value []byte) error {
	if kind == kindKept {
		t.History++
		_, _, err := readKept(value, &t.known)
		return err
	}
	img := &t.one
	*img = state.Image{Pacts: img.Pacts[:0], Authors: img.Authors[:0], Registers: img.Registers[:0]}
	if err := add(img, kind, value, t.names); err != nil {
		return err
	}
	if kind == kindMeta {
		t.Meta = img.Meta
	}
	return t.image(img)
}

// image adds the rows of img.
func (t *tally) image(img *state.Image) error {
	for i := range img.Pacts {
		if err := t.pact(&img.Pacts[i]); err != nil {
			return err
		}
	}
	for i := range img.Authors {
		row := &img.Authors[i]
		sum, ok := t.pacts[row.Pact]
		if !ok {
			return fmt.Errorf("%w: author %s without pact %s", ErrDamaged, row.State.Author, row.Pact)
		}
		t.Authors++
		sum.Authors.Count++
		sum.Authors.Seen += uint64(row.State.Seen) + uint64(row.State.Heard)
		for _, run := range row.Refused {
			sum.Authors.Refused += uint64(run.To-run.From) + 1
		}
	}
	for _, s := range img.Registers {
		sum, ok := t.pacts[s.Register.Op.Key.Pact]
		if !ok {
			return fmt.Errorf("%w: register %s without its pact", ErrDamaged, s.Register.Op.Key)
		}
		t.Registers++
		sum.Registers.Add(s.Register.Digest)
		sum.Head = max(sum.Head, s.Offset)
	}
	return nil
}

func (t *tally) pact(row *state.PactRow) error {
	agreed, err := pact.Decode(row.Document)
	switch {
	case errors.Is(err, pact.ErrNewer):
		return fmt.Errorf("pact %s: %w: %w", row.Pact, ErrNewer, err)
	case err != nil:
		return fmt.Errorf("pact %s: %w", row.Pact, typed(err))
	}
	if agreed.Name != row.Pact || t.pacts[row.Pact] != nil {
		return fmt.Errorf("%w: the row of pact %s holds %s, or is there twice", ErrDamaged, row.Pact, agreed.Name)
	}
	t.Pacts++
	t.pacts[row.Pact] = &command.PactDigest{Pact: row.Pact, Version: agreed.Version}
	return nil
}

// compare holds the sums against those that the snapshot says it has.
func (t *tally) compare() error {
	for _, want := range t.Meta.Pacts {
		if got := t.pacts[want.Pact]; got == nil || *got != want {
			return fmt.Errorf("%w: pact %s does not have the digest that was recorded for it", ErrDamaged, want.Pact)
		}
	}
	if len(t.pacts) != len(t.Meta.Pacts) {
		return fmt.Errorf("%w: %d pacts, %d recorded", ErrDamaged, len(t.pacts), len(t.Meta.Pacts))
	}
	return nil
}
