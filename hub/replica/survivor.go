package replica

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/hub/store"
)

// ErrRuns reports a directory that a running node holds.
var ErrRuns = errors.New("a node runs on this directory")

// Survivor is the directory of a node that does not run, held as a running node
// would hold it. It is for one goroutine. Opening it mends what a start mends and
// changes nothing else.
type Survivor struct {
	// Members is the newest membership that the node knows, committed or not.
	Members []Member
	// Term is the newest that it knows, Last and LastTerm the end of its log.
	Term, Last, LastTerm uint64
	// State is what is known to be committed: the newest checkpoint, in memory. What
	// the log holds behind it may be.
	State *state.Machine

	dir        string
	checkpoint uint64   // that State began at
	r          *Replica // never started; nil once closed
}

// OpenSurvivor opens dir. The caller must Close it. A directory that holds
// nothing is ErrNothing.
func OpenSurvivor(dir, node string, memTableBytes int64) (*Survivor, error) {
	if err := unfinished(dir); err != nil {
		return nil, err
	}
	if !exists(filepath.Join(dir, dirLog)) || !exists(filepath.Join(dir, dirState)) {
		return nil, fmt.Errorf("%w: %s", ErrNothing, dir)
	}
	// The log's lock waits for ever, the store's says so at once.
	probe, err := store.Open(filepath.Join(dir, dirState), store.Options{MemTableBytes: memTableBytes})
	if err != nil && strings.Contains(err.Error(), "Another process is using") {
		return nil, fmt.Errorf("%w: %s: %w", ErrRuns, dir, err)
	}
	if err == nil {
		err = probe.Close()
	}
	if err != nil {
		return nil, err
	}
	cfg := Config{
		Node: node, Dir: dir, MemTableBytes: memTableBytes, Listener: noListener{}, Exit: func(error) {},
		Log: slog.New(slog.DiscardHandler), ReserveBytes: -1, BallastBytes: -1,
	}.withDefaults()
	s := &Survivor{dir: dir, r: newReplica(cfg)}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Survivor) open() error {
	if err := s.r.openLog(); err != nil {
		return fmt.Errorf("open the log in %s: %w", s.dir, err)
	}
	if err := s.r.openState(nil); err != nil {
		return fmt.Errorf("open the state in %s: %w", s.dir, err)
	}
	if err := s.load(); err != nil {
		return fmt.Errorf("read the checkpoint in %s: %w", s.dir, err)
	}
	var err error
	if s.Term, err = s.r.log.hints.GetUint64([]byte(nameCurrentTerm)); err != nil {
		return err
	}
	if newest := s.r.snapshots.checkpoint; newest != nil {
		s.Last, s.LastTerm = newest.Index, newest.Term
		s.members(newest.Configuration)
	}
	err = s.each(1, func(entry *raft.Log) error {
		s.Last, s.LastTerm = entry.Index, entry.Term
		if entry.Type == raft.LogConfiguration {
			if err := membershipOf(entry.Data); err != nil {
				return fmt.Errorf("entry %d: %w", entry.Index, err)
			}
			s.members(raft.DecodeConfiguration(entry.Data))
		}
		return nil
	})
	s.Term = max(s.Term, s.LastTerm)
	return err
}

// load reads the checkpoint into a state of its own, as a peer would.
func (s *Survivor) load() error {
	s.State = state.New()
	_, data, err := s.r.snapshots.openNewest()
	if errors.Is(err, ErrNothing) {
		return nil // of before the first checkpoint
	}
	if err != nil {
		return err
	}
	defer data.Close()
	image, err := store.ReadSnapshot(data)
	if err != nil {
		return err
	}
	s.checkpoint = image.Meta.Index
	return s.State.Restore(image)
}

func (s *Survivor) members(c raft.Configuration) {
	s.Members = nil
	for _, m := range c.Servers {
		s.Members = append(s.Members, Member{Node: string(m.ID), Voter: m.Suffrage == raft.Voter})
	}
}

// Behind calls do with every command entry behind the checkpoint, in order.
func (s *Survivor) Behind(do func(index uint64, e command.Entry) error) error {
	return s.each(s.checkpoint+1, func(entry *raft.Log) error {
		if entry.Type != raft.LogCommand {
			return nil
		}
		decoded, err := command.Decode(entry.Data)
		if err != nil {
			return fmt.Errorf("entry %d: %w", entry.Index, err)
		}
		return do(entry.Index, decoded)
	})
}

// each reads the log from an index on.
func (s *Survivor) each(from uint64, do func(*raft.Log) error) error {
	first, err := s.r.log.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.r.log.LastIndex()
	if err != nil {
		return err
	}
	for i := max(first, from, 1); i <= last; i++ {
		var entry raft.Log
		if err := s.r.log.GetLog(i, &entry); err != nil {
			return err
		}
		if err := do(&entry); err != nil {
			return err
		}
	}
	return nil
}

// Close lets go of the directory.
func (s *Survivor) Close() error {
	if s.r == nil {
		return nil
	}
	err := s.r.release()
	s.r = nil
	return err
}

// noListener is that of a replica that never starts.
type noListener struct{ net.Listener }

func (noListener) Close() error { return nil }
