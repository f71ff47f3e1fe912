package replica

import (
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// followers is what a leader learns of the others from their answers: raft keeps
// it to itself. Safe for concurrent use.
type followers struct {
	mu sync.Mutex
	of map[string]follower
}

// follower is one other node as the leader heard of it last.
type follower struct {
	match   uint64 // newest entry that it is known to have in common with the leader
	term    uint64 // in which that was learned
	contact time.Time
}

func newFollowers() *followers { return &followers{of: map[string]follower{}} }

// heard notes an answer; match 0 says nothing of the log. What was learned in an
// older term is forgotten: a log may have been cut since.
func (f *followers) heard(node string, term, match uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	one := f.of[node]
	if term != one.term {
		one = follower{term: term}
	}
	one.match, one.contact = max(one.match, match), time.Now()
	f.of[node] = one
}

func (f *followers) get(node string, term uint64) (follower, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	one, ok := f.of[node]
	return one, ok && one.term == term
}

// AppendEntries implements raft.Transport, and listens to the answer. A silent
// node sends none.
func (t transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest,
	resp *raft.AppendEntriesResponse,
) error {
	if t.silent.Load() {
		return errSilent
	}
	err := t.NetworkTransport.AppendEntries(id, target, args, resp)
	err = believed(err, &resp.Term)
	if err == nil {
		var match uint64
		if resp.Success {
			match = args.PrevLogEntry // 0 in a heartbeat
			if n := len(args.Entries); n > 0 {
				match = args.Entries[n-1].Index
			}
		}
		t.followers.heard(string(id), args.Term, match)
	}
	return err
}

// InstallSnapshot implements raft.Transport, and listens to the answer.
func (t transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest,
	resp *raft.InstallSnapshotResponse, data io.Reader,
) error {
	err := t.NetworkTransport.InstallSnapshot(id, target, args, resp, data)
	err = believed(err, &resp.Term)
	if err == nil && resp.Success {
		t.followers.heard(string(id), args.Term, args.LastLogIndex)
	}
	return err
}
