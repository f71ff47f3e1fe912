package backup

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"filippo.io/age"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/replica"
	"github.com/entente-sync/entente/hub/state"
)

// termStep lies between the terms of a hub and of the one restored from it: more
// elections than any hub holds after a backup. An entry of a node that was
// forgotten in the old cluster can then never be taken for one of the new.
const termStep = 1 << 20

// Target is what a backup is restored into.
type Target struct {
	// Dir of the node, which is stopped: empty, not there, or left by a restore that
	// did not end.
	Dir string
	// Hub and Node are whom the node's certificate names.
	Hub  command.HubID
	Node string
	// NewCluster lets the backup of another hub become the beginning of this one.
	NewCluster bool
	// Runs says why a node that the backup knows, and that is reached at that address,
	// goes on as the hub that the backup is of; nil: nobody asks.
	Runs func(node, address string) error
	// Identities open a sealed backup.
	Identities []age.Identity
	// Random gives the new epoch.
	Random io.Reader

	MemTableBytes int64 // of the store; 0 means its own default
}

// Restored says what a restore made.
type Restored struct {
	Header
	// Epoch that begins, in place of Header.Epoch, and the entry that began it.
	NewEpoch crdt.Epoch
	NewIndex uint64
	Pacts    []command.PactDigest
}

// Restore makes the node's directory out of a backup, all of which it checks
// before it touches anything. The node begins as the hub's only member; others
// join it and catch up.
//
// The state in the directory has forked already: its newest entry, the one behind
// the backup's, is the Fork to a new epoch. So there is no moment in which the
// restored hub could speak in the old one's name, and the fork happens once,
// however many nodes join and whoever leads. A crash leaves a directory that no
// hub opens and that Restore takes again.
func Restore(r io.Reader, to Target) (Restored, error) {
	h, m, err := Load(r, to.Identities)
	if err != nil {
		return Restored{}, err
	}
	if err := to.accepts(&h); err != nil {
		return Restored{}, err
	}
	if err := to.alone(m.Roster()); err != nil {
		return Restored{}, err
	}
	child, err := newEpoch(to.Random, h.Epoch)
	if err != nil {
		return Restored{}, err
	}
	index := h.Index + 1
	result := m.Apply(index, command.Entry{Commands: []command.Command{&command.Fork{Parent: h.Epoch, Child: child}}})
	if result.Skipped || result.Commands[0].Reason != "" {
		return Restored{}, fmt.Errorf("backup: the state does not fork: %+v", result)
	}
	img := m.Image()
	img.Meta.Hub = to.Hub
	// Names of nodes and their tokens belong to the cluster that was: in this one
	// nobody but this node has been anybody, and all may join under their old names.
	img.Roster, img.Meta.Roster = nil, [sha256.Size]byte{}
	err = replica.Seed(replica.Planted{
		Dir: to.Dir, Node: to.Node, State: img, Term: h.Term + termStep, MemTableBytes: to.MemTableBytes,
	})
	if errors.Is(err, replica.ErrNotEmpty) {
		return Restored{}, fault(CodeNotEmpty, err)
	}
	if err != nil {
		return Restored{}, fmt.Errorf("backup: restore: %w", err)
	}
	return Restored{Header: h, NewEpoch: child, NewIndex: index, Pacts: img.Meta.Pacts}, nil
}

// accepts guards a hub against the state of another one.
func (to *Target) accepts(h *Header) error {
	switch {
	case h.Hub.IsZero() || h.Index == 0:
		return fault(CodeUnfounded, errors.New("the backup is of a hub that was not founded"))
	case h.Index == math.MaxUint64 || h.Term > math.MaxUint64-termStep:
		return fault(CodeDamaged, fmt.Errorf("entry %d of term %d", h.Index, h.Term))
	case to.Hub != h.Hub && !to.NewCluster:
		return fault(CodeOtherHub, fmt.Errorf("the backup is of hub %s, this node's certificate of hub %s", h.Hub, to.Hub))
	case to.Hub == h.Hub && to.NewCluster:
		return fault(CodeSameHub, fmt.Errorf("the backup is of hub %s, as this node's certificate", h.Hub))
	}
	return nil
}

// alone asks whether the nodes that the backup knows are gone. A copy of another hub
// does not ask: that one goes on.
func (to *Target) alone(known *state.Roster) error {
	if to.Runs == nil || to.NewCluster {
		return nil
	}
	for _, n := range known.Nodes {
		if n.Name == to.Node || !n.Told() {
			continue
		}
		if err := to.Runs(n.Name, n.Nodes); err != nil {
			return err
		}
	}
	return nil
}

func newEpoch(random io.Reader, not crdt.Epoch) (crdt.Epoch, error) {
	var raw [8]byte
	for {
		if _, err := io.ReadFull(random, raw[:]); err != nil {
			return 0, fmt.Errorf("random epoch: %w", err)
		}
		if e := crdt.Epoch(binary.LittleEndian.Uint64(raw[:])); e != 0 && e != not {
			return e, nil
		}
	}
}
