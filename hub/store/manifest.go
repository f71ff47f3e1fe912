package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"

	"github.com/entente-sync/entente/hub/codec"
)

// mendManifest takes tables out of the database's manifest whose files are gone
// because nobody had synced their names when the power was lost. It is called
// before the database is opened, which would refuse.
//
// When a memory table is full, Badger writes it out as a table of level 0, syncs
// the manifest that names it, and removes the memory table's log; it does not sync
// the directory in between, as it does after a merge. So if the name of such a
// table is lost, the removal of the log that came after it is lost too, and
// the log brings everything back. Were it otherwise, the checkpoint would be found
// incomplete: Open compares its index, LoadInto all of it.
//
// A table of another level that is missing is damage, and is left to Badger to find.
func mendManifest(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, badger.ManifestFilename), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	manifest, end, err := badger.ReplayManifestFile(f, 0, badger.DefaultOptions(dir))
	if err != nil {
		return nil //nolint:nilerr // Badger says so itself, in its own words
	}
	var lost []byte
	for id, t := range manifest.Tables {
		_, err := os.Stat(table.NewFilename(id, dir))
		switch {
		case err == nil:
		case !errors.Is(err, fs.ErrNotExist):
			return err
		case t.Level == 0:
			lost = appendDelete(lost, id)
		}
	}
	if len(lost) == 0 {
		return nil
	}
	if err := appendChanges(f, end, lost); err != nil {
		return fmt.Errorf("mend the manifest: %w", err)
	}
	return nil
}

// appendDelete appends a change of Badger's message ManifestChangeSet that takes a
// table out: field 1 of the set, which has the table's id as field 1 and DELETE,
// which is 1, as field 2.
func appendDelete(set []byte, id uint64) []byte {
	change := append(binary.AppendUvarint([]byte{1 << 3}, id), 2<<3, 1)
	set = append(set, 1<<3|2, byte(len(change))) // always short
	return append(set, change...)
}

// appendChanges writes a set of changes as Badger does (manifest.go, version 8 of
// the format): length and CRC32C, big-endian, then the message. What was cut off
// behind end goes.
func appendChanges(f *os.File, end int64, set []byte) error {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(set)))
	b = binary.BigEndian.AppendUint32(b, codec.Checksum(set))
	if err := f.Truncate(end); err != nil {
		return err
	}
	if _, err := f.WriteAt(append(b, set...), end); err != nil {
		return err
	}
	return f.Sync()
}
