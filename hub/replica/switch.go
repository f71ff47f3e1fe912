package replica

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/entente-sync/entente/proto/durable"
)

// ErrSwitching reports a directory whose content is being replaced: recover it
// again, which ends what was begun.
var ErrSwitching = errors.New("the directory's recovery did not end: run `entente hub recover` again")

const (
	// fileSwitching marks a directory from the moment at which its new content is
	// whole to the one at which that stands in its place. It names where the old goes.
	fileSwitching = "recovering"
	dirSwitching  = "recovered" // the new content until then
)

// parts is what a replica's directory holds of a hub.
var parts = []string{dirLog, dirState, dirSnapshots}

// Replace puts what p describes in the place of the survivor's content, which goes
// to the directory keep within its own, and closes the survivor. Until the new
// content is whole and durable nothing changes; from then on no node opens the
// directory until FinishSwitch, which Replace calls, has ended.
func (s *Survivor) Replace(p Planted, keep string) error {
	if strings.ContainsRune(keep, filepath.Separator) || keep == "" || exists(filepath.Join(s.dir, keep)) {
		return fmt.Errorf("%s cannot be kept as %s", s.dir, keep)
	}
	p.Dir = filepath.Join(s.dir, dirSwitching)
	if err := os.RemoveAll(p.Dir); err != nil { // of a try that was cut short
		return err
	}
	if err := Seed(p); err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(s.dir, fileSwitching), []byte(keep)); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	_, err := FinishSwitch(s.dir)
	return err
}

// FinishSwitch ends a Replace that a crash cut short, and says whether there was
// one. Each step may be repeated.
func FinishSwitch(dir string) (did bool, err error) {
	marker := filepath.Join(dir, fileSwitching)
	name, err := os.ReadFile(marker)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	keep := filepath.Join(dir, string(name))
	if err := os.MkdirAll(keep, 0o700); err != nil {
		return false, err
	}
	fresh := filepath.Join(dir, dirSwitching)
	for _, part := range parts {
		if err := switchPart(filepath.Join(fresh, part), filepath.Join(dir, part), filepath.Join(keep, part)); err != nil {
			return false, fmt.Errorf("switch %s: %w", part, err)
		}
	}
	if exists(fresh) { // else it was emptied, synced and removed before the crash
		if err := durable.SyncDir(fresh); err != nil {
			return false, err
		}
	}
	if err := errors.Join(durable.SyncDir(keep), durable.SyncDir(dir)); err != nil {
		return false, err
	}
	if err := os.RemoveAll(fresh); err != nil {
		return false, err
	}
	if err := os.Remove(marker); err != nil {
		return false, err
	}
	return true, durable.SyncDir(dir)
}

// switchPart moves the old aside and the new into its place. While the new is not
// there yet, what is in the place is the old one.
func switchPart(fresh, place, keep string) error {
	if !exists(fresh) {
		return nil // moved before the crash
	}
	if exists(place) {
		if err := os.Rename(place, keep); err != nil {
			return err
		}
	}
	return os.Rename(fresh, place)
}

// switching reports a directory whose switch did not end.
func switching(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, fileSwitching)); err == nil {
		return fmt.Errorf("%w: %s", ErrSwitching, dir)
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
