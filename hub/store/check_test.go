package store

import (
	"bytes"
	"errors"
	"testing"

	"github.com/entente-sync/entente/hub/state"
)

// The check that keeps no rows counts what the state does, and finds what
// Restore finds.
func TestCheckSnapshot(t *testing.T) {
	h := newHub(t)
	h.fill(t, 0, 80)
	whole := h.Image()
	got, err := CheckSnapshot(bytes.NewReader(snapshot(t, h)))
	if err != nil {
		t.Fatal(err)
	}
	if got.Registers != uint64(len(whole.Registers)) || got.Authors != uint64(len(whole.Authors)) || got.Pacts != 1 {
		t.Errorf("counted %d registers, %d authors, %d pacts", got.Registers, got.Authors, got.Pacts)
	}
	if got.Meta.Index != whole.Meta.Index || got.Meta.Pacts[0] != whole.Meta.Pacts[0] {
		t.Errorf("meta %+v, want %+v", got.Meta, whole.Meta)
	}
	for name, change := range map[string]func(*state.Image){
		"a register is missing":     func(img *state.Image) { img.Registers = img.Registers[1:] },
		"a register is there twice": func(img *state.Image) { img.Registers = append(img.Registers, img.Registers[0]) },
		"an author is missing":      func(img *state.Image) { img.Authors = img.Authors[1:] },
		"an author saw more":        func(img *state.Image) { img.Authors[0].State.Seen++ },
		"a refusal is missing":      func(img *state.Image) { img.Authors[1].Refused = nil },
		"a pact is missing":         func(img *state.Image) { img.Pacts = nil },
		"a pact is there twice":     func(img *state.Image) { img.Pacts = append(img.Pacts, img.Pacts[0]) },
		"a pact is another one":     func(img *state.Image) { img.Pacts[0].Pact = "other" },
		"a pact is not recorded":    func(img *state.Image) { img.Meta.Pacts = nil },
		"an offset is another one": func(img *state.Image) {
			last := *img.Registers[len(img.Registers)-1]
			last.Offset++
			img.Registers[len(img.Registers)-1] = &last
		},
		"a register is of another pact": func(img *state.Image) {
			one := *img.Registers[0]
			one.Register.Op.Key.Pact = "other"
			img.Registers[0] = &one
		},
	} {
		img := h.Image()
		change(img)
		var b bytes.Buffer
		if err := WriteSnapshot(&b, img); err != nil {
			t.Fatal(err)
		}
		if _, err := CheckSnapshot(bytes.NewReader(b.Bytes())); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := restored(b.Bytes()); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: restored: %v", name, err)
		}
	}
}

func TestCheckSnapshotOfTheFuture(t *testing.T) {
	h := newHub(t)
	img := h.Image()
	img.Pacts[0].Document = bytes.Clone(img.Pacts[0].Document)
	img.Pacts[0].Document[0] = 255
	var b bytes.Buffer
	if err := WriteSnapshot(&b, img); err != nil {
		t.Fatal(err)
	}
	if _, err := CheckSnapshot(bytes.NewReader(b.Bytes())); !errors.Is(err, ErrNewer) {
		t.Errorf("a pact of a newer format: %v", err)
	}
}

func TestSnapshotMeta(t *testing.T) {
	h := newHub(t)
	h.fill(t, 0, 9)
	b := snapshot(t, h)
	meta, err := SnapshotMeta(bytes.NewReader(b))
	if err != nil || meta.Index != h.Index() || meta.Epoch != epoch {
		t.Fatalf("%+v, %v", meta, err)
	}
	if _, err := SnapshotMeta(bytes.NewReader(b[:40])); !errors.Is(err, ErrDamaged) {
		t.Errorf("cut off: %v", err)
	}
}
