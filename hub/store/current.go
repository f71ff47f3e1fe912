package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/entente-sync/entente/proto/durable"
)

// The file CURRENT says which database is in force, and the index of its newest
// complete checkpoint: "<format> <directory> <index>\n". It is replaced by rename,
// so that a restored database comes into force at once; and a database that has
// silently lost its newest checkpoint is found out by the index.
const (
	currentFile = "CURRENT"
	statePrefix = "state-"
)

// current is the content of the file.
type current struct {
	number uint64 // of the database; 0 in a new directory
	index  uint64
}

func readCurrent(dir string) (current, error) {
	text, err := os.ReadFile(filepath.Join(dir, currentFile))
	if errors.Is(err, os.ErrNotExist) {
		return current{}, refuseOrphans(dir)
	}
	if err != nil {
		return current{}, err
	}
	words := strings.Fields(string(text))
	if len(words) == 0 {
		return current{}, fmt.Errorf("%w: file %s is empty", ErrDamaged, currentFile)
	}
	format, err := strconv.ParseUint(words[0], 10, 32)
	if err == nil && format > Format {
		return current{}, fmt.Errorf("%w: format %d, known up to %d", ErrNewer, format, Format)
	}
	if err != nil || format == 0 || len(words) != 3 {
		return current{}, fmt.Errorf("%w: file %s is unreadable", ErrDamaged, currentFile)
	}
	number, ok := stateNumber(words[1])
	index, err := strconv.ParseUint(words[2], 10, 64)
	if !ok || err != nil {
		return current{}, fmt.Errorf("%w: file %s is unreadable", ErrDamaged, currentFile)
	}
	if _, err := os.Stat(stateDir(dir, number)); err != nil {
		return current{}, fmt.Errorf("%w: the database that %s names: %w", ErrDamaged, currentFile, err)
	}
	return current{number, index}, nil
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

// writeCurrent replaces the file durably.
func writeCurrent(dir string, c current) error {
	path := filepath.Join(dir, currentFile)
	text := fmt.Sprintf("%d %s %d\n", rowFormat, stateName(c.number), c.index)
	return durable.WriteFile(path, []byte(text))
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
