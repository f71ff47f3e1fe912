package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The file CURRENT names the database in force: "<format> <directory>\n". It is
// replaced by rename, so that a restored database comes into force at once.
const (
	currentFile = "CURRENT"
	statePrefix = "state-"
)

// readCurrent returns the number of the database in force, 0 in a new directory.
func readCurrent(dir string) (uint64, error) {
	text, err := os.ReadFile(filepath.Join(dir, currentFile))
	if errors.Is(err, os.ErrNotExist) {
		return 0, refuseOrphans(dir)
	}
	if err != nil {
		return 0, err
	}
	format, name, ok := strings.Cut(strings.TrimSuffix(string(text), "\n"), " ")
	n, err := strconv.ParseUint(format, 10, 32)
	if err == nil && n > Format {
		return 0, fmt.Errorf("%w: format %d, known up to %d", ErrNewer, n, Format)
	}
	number, numberOK := stateNumber(name)
	if !ok || err != nil || n == 0 || !numberOK {
		return 0, fmt.Errorf("%w: file %s is unreadable", ErrDamaged, currentFile)
	}
	if _, err := os.Stat(stateDir(dir, number)); err != nil {
		return 0, fmt.Errorf("%w: the database that %s names: %w", ErrDamaged, currentFile, err)
	}
	return number, nil
}

// refuseOrphans keeps a directory that lost its CURRENT from being taken for a
// new one.
func refuseOrphans(dir string) error {
	numbers, err := stateNumbers(dir)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		if files, err := os.ReadDir(stateDir(dir, n)); err != nil || len(files) > 0 {
			return fmt.Errorf("%w: file %s is missing beside a database", ErrDamaged, currentFile)
		}
	}
	return nil
}

// writeCurrent brings a database into force durably.
func writeCurrent(dir string, number uint64) error {
	path := filepath.Join(dir, currentFile)
	text := strconv.Itoa(Format) + " " + stateName(number) + "\n"
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(dir)
}

// removeOthers deletes every database that is not in force: what a crash left of
// a restore, or what a restore replaced.
func removeOthers(dir string, number uint64) error {
	numbers, err := stateNumbers(dir)
	for _, n := range numbers {
		if n != number {
			err = errors.Join(err, os.RemoveAll(stateDir(dir, n)))
		}
	}
	return err
}

func stateNumbers(dir string) ([]uint64, error) {
	files, err := os.ReadDir(dir)
	var out []uint64
	for _, f := range files {
		if n, ok := stateNumber(f.Name()); ok {
			out = append(out, n)
		}
	}
	return out, err
}

func stateName(number uint64) string { return fmt.Sprintf("%s%016x", statePrefix, number) }

func stateDir(dir string, number uint64) string { return filepath.Join(dir, stateName(number)) }

func stateNumber(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, statePrefix)
	n, err := strconv.ParseUint(digits, 16, 64)
	return n, ok && err == nil && n > 0 && stateName(n) == name
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
