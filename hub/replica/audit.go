package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
)

// ErrDisputed reports that the nodes of this hub hold different states and none
// of them is a majority's. Nothing was proposed, and nothing but orders about
// members (Order) will be until a majority agrees: with a node that is started, or
// a new one that joins. A directory is not emptied for that: its node would have
// forgotten its votes.
var ErrDisputed = errors.New("the hub's nodes hold different states and no majority agrees: it takes no writes; " +
	"start the nodes that are missing; if they are lost for good, remove them, " +
	"and let a node join under a new name in the place of the one whose state is wrong")

// AuditMissesMax is how many audits in a row may pass this replica by before the
// check counts as failed.
const AuditMissesMax = 3

// An audit takes two steps. The entry Audit makes every replica remember its
// digests; at the next interval the leader asks each member what it remembers, and
// the entry Tally carries the answers. A replica that remembers something else
// than the majority stops itself, the leader too, after handing over. Without a
// majority nobody acks any more.
type auditor struct {
	mu         sync.Mutex
	disputed   bool // guarded by mu, as is everything below
	misses     int  // audits in a row that did not compare this replica
	mismatches uint64
	expelled   bool
}

var keyDisputed = []byte("disputed")

// err returns ErrDisputed while there is a dispute.
func (a *auditor) err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.disputed:
		return ErrDisputed
	case a.expelled:
		return ErrNotLeader
	}
	return nil
}

// withholds reports whether an answer is not to be given: what a state in doubt
// says of anything but orders, which do not depend on it, and all that one says
// which is known to be wrong.
func (a *auditor) withholds(order bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.expelled || a.disputed && !order
}

// audits runs until the replica is closed.
func (r *Replica) audits() {
	tick := time.NewTicker(r.cfg.AuditInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if r.leading.Load() {
				r.audit()
			}
		case <-r.closing:
			return
		case <-r.stopped:
			return
		}
	}
}

// audit counts what the members remember of the audit before and begins another.
// Nobody waits for the outcome.
func (r *Replica) audit() {
	index, pacts := r.state.LastAudit()
	next := &command.Audit{}
	if !r.tallied() { // a member knows only the leader's word
		next.Index, next.Pacts = index, pacts
	} else if index != 0 {
		votes, err := r.poll(index)
		if err == nil {
			err = r.start(&command.Tally{Index: index, Votes: votes})
		}
		if err != nil {
			r.cfg.Log.Debug("audit is not counted", "error", err)
		}
	}
	if err := r.start(next); err != nil {
		r.cfg.Log.Debug("audit not proposed", "error", err)
	}
}

// start is Start for what a dispute must not keep from being settled.
func (r *Replica) start(c command.Command) error {
	_, err := r.enqueue(c, true)
	return err
}

// tallied reports whether every member knows the command, as far as they have
// said so: no hub was ever released that does not.
func (r *Replica) tallied() bool {
	roster := r.state.Roster()
	if roster == nil {
		return true
	}
	return !slices.ContainsFunc(roster.Nodes, func(n state.NodeState) bool {
		return !n.Removed && n.Told() && n.Speaks < command.KindTally
	})
}

// poll asks every member at once.
func (r *Replica) poll(index uint64) ([]command.Vote, error) {
	members, err := r.Members()
	if err != nil {
		return nil, err
	}
	votes := make([]command.Vote, len(members))
	var asking sync.WaitGroup
	for i, m := range members {
		votes[i] = command.Vote{Node: m.Node, Voter: m.Voter}
		asking.Go(func() {
			digest, err := r.ask(m.Node, index)
			if err != nil {
				r.cfg.Log.Debug("member is not audited", "member", m.Node, "error", err)
				return
			}
			votes[i].Answered, votes[i].Digest = true, digest
		})
	}
	asking.Wait()
	slices.SortFunc(votes, func(a, b command.Vote) int { return strings.Compare(a.Node, b.Node) })
	return votes, nil
}

// The question on a node's port: questionByte, which no request of raft begins
// with, a version, the index. The answer: the version, whether the node remembers
// that audit, the digest.
const (
	questionByte    = 0xAD
	questionVersion = 1
	questionBytes   = 1 + 1 + 8
	answerBytes     = 1 + 1 + len(command.AuditDigest{})
)

func (r *Replica) ask(node string, index uint64) (digest command.AuditDigest, err error) {
	if node == r.cfg.Node {
		digest, ok := remembered(r.state, index)
		if !ok {
			return digest, errors.New("another audit was remembered since")
		}
		return digest, nil
	}
	timeout := min(r.cfg.RPCTimeout, max(r.cfg.AuditInterval, time.Second))
	conn, err := r.stream.Dial(raft.ServerAddress(node), timeout)
	if err != nil {
		return digest, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return digest, err
	}
	question := binary.BigEndian.AppendUint64([]byte{questionByte, questionVersion}, index)
	if _, err := conn.Write(question); err != nil {
		return digest, err
	}
	var answer [answerBytes]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return digest, err
	}
	if answer[0] != questionVersion || answer[1] != 1 {
		return digest, fmt.Errorf("it does not remember the audit of entry %d", index)
	}
	copy(digest[:], answer[2:])
	return digest, nil
}

// remembered returns what m remembers of the audit of entry index.
func remembered(m *state.Machine, index uint64) (command.AuditDigest, bool) {
	at, pacts := m.LastAudit()
	if at != index {
		return command.AuditDigest{}, false
	}
	return command.DigestOf(pacts), true
}

// answerQuestion answers the rest of a question, whose first byte was read.
func answerQuestion(ctx context.Context, conn net.Conn, m *state.Machine) {
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if conn.SetDeadline(deadline) != nil {
			return
		}
	}
	var rest [questionBytes - 1]byte
	if _, err := io.ReadFull(conn, rest[:]); err != nil || rest[0] != questionVersion {
		return
	}
	answer := [answerBytes]byte{questionVersion}
	if digest, ok := remembered(m, binary.BigEndian.Uint64(rest[1:])); ok {
		answer[1] = 1
		copy(answer[2:], digest[:])
	}
	_, _ = conn.Write(answer[:]) // who asks sees that it is cut off
}

// counted notes what a tally said. It is called by Apply's goroutine.
func (r *Replica) counted(index uint64, c *command.Tally, result state.CommandResult) {
	a := &r.auditor
	a.mu.Lock()
	was := a.disputed
	switch result.Verdict {
	case command.VerdictAgreed:
		a.disputed = false
	case command.VerdictDisputed:
		a.disputed = true
	}
	a.misses++
	if result.Compared && result.Verdict == command.VerdictAgreed {
		a.misses = 0
	}
	if c.Mismatch() {
		a.mismatches++
	}
	now, expel := a.disputed, result.Minority && !a.expelled
	a.expelled = a.expelled || expel
	a.mu.Unlock()
	if was != now {
		r.noteDispute(now)
	}
	if expel {
		go r.expel(fmt.Errorf("%w: audit of entry %d, counted in entry %d",
			ErrDiverged, c.Index, index))
	}
}

// noteDispute keeps the word on disk: a restart settles nothing.
func (r *Replica) noteDispute(disputed bool) {
	value := uint64(0)
	if disputed {
		value = 1
		r.cfg.Log.Error("this hub takes no writes", "error", ErrDisputed)
	}
	if err := r.log.hints.SetUint64(keyDisputed, value); err != nil {
		r.cfg.Log.Error("the dispute is not noted", "error", err) // the latch has tripped
	}
}

// expel ends this node, whose state is not the hub's. Nobody is told anything
// any more, and as leader it hands over first.
func (r *Replica) expel(cause error) {
	r.leading.Store(false)
	if err := r.TransferLeadership(); err != nil {
		r.cfg.Log.Warn("leadership is not handed over", "error", err)
	}
	r.latch.trip(cause)
}
