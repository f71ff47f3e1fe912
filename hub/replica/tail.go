package replica

import (
	"errors"
	"fmt"
	"io/fs"
	"math"

	walfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// healTail mends a log whose newest segment is sealed in its file and open in the
// meta store. A crash between the write that seals a segment and the commit of
// its successor leaves that, and so does a torn write of the seal itself, which
// the library takes for one. It opens such a log, and then refuses every append
// with "segment is sealed", for ever.
//
// What the library recovers of the segment, which is all that was acknowledged,
// is written to a new one, large enough to stay open, and takes its place in one
// commit. The library removes the old file, which nothing names any more.
func healTail(dir string, meta *metadb.BoltMetaDB) error {
	state, err := meta.Load(dir)
	if err != nil || len(state.Segments) == 0 {
		return err
	}
	tail := &state.Segments[len(state.Segments)-1]
	if !tail.SealTime.IsZero() {
		return nil
	}
	filer := segment.NewFiler(dir, walfs.New())
	old, err := filer.RecoverTail(*tail)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a crash before the file was made: the library makes it
	}
	if err != nil {
		return err
	}
	defer old.Close()
	sealed, _, err := old.Sealed()
	if err != nil || !sealed {
		return err
	}
	entries, err := entriesOf(old, tail.MinIndex)
	if err != nil {
		return err
	}
	fresh := *tail
	fresh.ID = state.NextSegmentID
	fresh.SizeLimit = uint32(min(2*uint64(tail.SizeLimit), math.MaxInt32))
	if len(entries) > 0 {
		fresh.BaseIndex = entries[0].Index
		if err := writeSegment(filer, fresh, entries); err != nil {
			return fmt.Errorf("segment %d: %w", fresh.ID, err)
		}
	}
	*tail = fresh
	state.NextSegmentID++
	return meta.CommitState(state)
}

// entriesOf copies what a segment holds from an index on.
func entriesOf(s types.SegmentWriter, from uint64) ([]types.LogEntry, error) {
	var out []types.LogEntry
	for i := from; i <= s.LastIndex(); i++ {
		data, err := s.GetLog(i)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		out = append(out, types.LogEntry{Index: i, Data: append([]byte(nil), data.Bs...)})
		if err := data.Close(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// writeSegment makes a segment of entries, synced with its name. One of that name
// is what a crash left of an attempt before.
func writeSegment(filer *segment.Filer, info types.SegmentInfo, entries []types.LogEntry) error {
	if err := filer.Delete(info.BaseIndex, info.ID); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w, err := filer.Create(info)
	if err != nil {
		return err
	}
	return errors.Join(w.Append(entries), w.Close())
}
