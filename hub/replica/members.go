package replica

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Errors of changing the membership.
var (
	// ErrChanging: another change is not committed yet. Try again.
	ErrChanging = errors.New("another change of the membership is under way")
	// ErrNotMember: the node does not belong to the cluster.
	ErrNotMember = errors.New("no such member")
)

// promoteLooks is how many looks in a row a learner must be found caught up at
// before it votes; there are looksPerHeartbeat of them in a heartbeat timeout.
const (
	promoteLooks      = 4
	looksPerHeartbeat = 8
)

// Member is one node of the cluster.
type Member struct {
	Node  string
	Voter bool // else a learner: it gets the log and has no vote
	// Alive and Behind are what a leader knows: whether the node answered within
	// the heartbeat timeout, and how many committed entries it is not known to have.
	Alive  bool
	Behind uint64
}

// mayVote: a voter that does not answer, or lacks entries, costs the cluster a
// failure that it could bear.
func (m Member) mayVote() bool { return !m.Voter && m.Alive && m.Behind <= lagEntriesMax }

// Members returns all nodes, in the order in which they joined.
func (r *Replica) Members() ([]Member, error) {
	servers, _, err := r.configuration()
	if err != nil {
		return nil, err
	}
	leading, term, commit, now := r.raft.State() == raft.Leader, r.raft.CurrentTerm(), r.raft.CommitIndex(), time.Now()
	var out []Member
	for _, s := range servers {
		m := Member{Node: string(s.ID), Voter: s.Suffrage == raft.Voter}
		switch f, known := r.transport.followers.get(m.Node, term); {
		case m.Node == r.cfg.Node:
			m.Alive = true
		case leading && known:
			m.Alive = now.Sub(f.contact) < r.cfg.HeartbeatTimeout
			m.Behind = commit - min(commit, f.match)
		case leading:
			m.Behind = commit
		}
		out = append(out, m)
	}
	return out, nil
}

// configuration returns the newest membership, committed or not, and its index.
func (r *Replica) configuration() ([]raft.Server, uint64, error) {
	future := r.raft.GetConfiguration()
	if err := future.Error(); err != nil {
		return nil, 0, err
	}
	return future.Configuration().Servers, future.Index(), nil
}

// change makes one change to the membership that was looked at, if this node
// leads and nothing else is under way.
func (r *Replica) change(do func(index uint64) raft.Future) error {
	if !r.leading.Load() {
		return ErrNotLeader
	}
	_, index, err := r.configuration()
	if err != nil {
		return err
	}
	if index > r.raft.CommitIndex() {
		return ErrChanging
	}
	err = r.await(do(index))
	if errors.Is(err, raft.ErrNotLeader) {
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	return err
}

// AddLearner lets a node have the log. It votes by itself once it is caught up.
// Adding a member changes nothing.
func (r *Replica) AddLearner(node string) error {
	return r.change(func(index uint64) raft.Future {
		return r.raft.AddNonvoter(raft.ServerID(node), raft.ServerAddress(node), index, 0)
	})
}

// Remove takes a node out. It asks nothing: see Check.
func (r *Replica) Remove(node string) error {
	return r.change(func(index uint64) raft.Future {
		return r.raft.RemoveServer(raft.ServerID(node), index, 0)
	})
}

// TransferTo hands leadership over to one voter, if this node leads.
func (r *Replica) TransferTo(node string) error {
	if r.raft.State() != raft.Leader {
		return ErrNotLeader
	}
	return r.await(r.raft.LeadershipTransferToServer(raft.ServerID(node), raft.ServerAddress(node)))
}

// promote gives learners that have kept up for a while their vote. streaks
// counts the looks at which each was found caught up, in a row.
func (r *Replica) promote(streaks map[string]int) {
	if !r.leading.Load() {
		clear(streaks)
		return
	}
	members, err := r.Members()
	if err != nil {
		return
	}
	for _, m := range members {
		if !m.mayVote() {
			delete(streaks, m.Node)
			continue
		}
		if streaks[m.Node]++; streaks[m.Node] < promoteLooks {
			continue
		}
		delete(streaks, m.Node)
		err := r.change(func(index uint64) raft.Future {
			return r.raft.AddVoter(raft.ServerID(m.Node), raft.ServerAddress(m.Node), index, 0)
		})
		if err != nil {
			r.cfg.Log.Debug("learner not promoted yet", "node", m.Node, "error", err)
			continue
		}
		r.cfg.Log.Info("learner has caught up and votes from now on", "node", m.Node)
	}
}

// tend looks after the members while this node leads.
func (r *Replica) tend() {
	tick := time.NewTicker(max(r.cfg.HeartbeatTimeout/looksPerHeartbeat, time.Millisecond))
	defer tick.Stop()
	streaks := map[string]int{}
	for {
		select {
		case <-tick.C:
			r.promote(streaks)
		case <-r.closing:
			return
		case <-r.stopped:
			return
		}
	}
}
