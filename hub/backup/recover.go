package backup

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/replica"
	"github.com/entente-sync/entente/hub/state"
)

// Rescue is the order to make a hub of its own out of one node, because a majority
// of its nodes is lost for good.
type Rescue struct {
	// Dir, Hub and Node are of the node that is left and does not run.
	Dir  string
	Hub  command.HubID
	Node string
	// DryRun only looks.
	DryRun bool
	// Why is kept with the names of the lost nodes, which nobody gets again.
	Why string
	// Runs says why one of the other nodes, which is reached at that address, is not
	// lost; nil: nobody asks.
	Runs func(node, address string) error
	// Random gives the new epoch, Now the clock of the entries that are added.
	Random io.Reader
	Now    func() time.Time

	MemTableBytes int64 // of the store; 0 means its own default
}

// Rescued says what a node holds, and what Rescue made of it.
type Rescued struct {
	// Finished: an earlier rescue had been cut short and is complete now. Nothing
	// else is known then.
	Finished bool

	Hub     command.HubID
	Members []replica.Member // as the node knows them
	// Epoch ends at entry Certain, the node's newest checkpoint: all of it was committed.
	// Behind it the log holds Behind entries, up to Last of LastTerm, of which the
	// node does not know whether the others acknowledged them. They stay.
	Epoch                   crdt.Epoch
	Certain, Last, LastTerm uint64
	Behind                  int
	Pacts                   []command.PactDigest
	// NewEpoch began at entry NewIndex; Kept is where the old content is. Zero after
	// a dry run.
	NewEpoch crdt.Epoch
	NewIndex uint64
	Kept     string
}

// termsMargin is how far from the end of all terms a rescue leaves a hub.
const termsMargin = math.MaxUint64 - termStep

// Recover carries out a Rescue.
//
// Which of the entries behind the checkpoint were committed, only the lost nodes
// knew. If they were not, others may have taken their place, at offsets that
// subscribers have seen. So the old epoch ends at the checkpoint, and the entries
// are applied again behind the fork: they get positions of the new epoch, which no
// subscriber takes for ones that it has seen. What this node never had, agents bring
// back.
func Recover(r *Rescue) (Rescued, error) {
	if !r.DryRun {
		if did, err := replica.FinishSwitch(r.Dir); did || err != nil {
			return Rescued{Finished: did, Hub: r.Hub}, err
		}
	}
	s, err := replica.OpenSurvivor(r.Dir, r.Node, r.MemTableBytes)
	switch {
	case errors.Is(err, replica.ErrRuns):
		return Rescued{}, fault(CodeRuns, err)
	case errors.Is(err, replica.ErrNothing):
		return Rescued{}, fault(CodeUnfounded, err)
	case err != nil:
		return Rescued{}, fmt.Errorf("recover: %w", err)
	}
	out, err := r.recover(s)
	return out, errors.Join(err, s.Close())
}

func (r *Rescue) recover(s *replica.Survivor) (Rescued, error) {
	m := s.State
	begun, err := begin(s, m)
	if err != nil {
		return Rescued{}, fmt.Errorf("recover: %w", err)
	}
	out := Rescued{Members: s.Members, Certain: m.Index(), Last: s.Last, LastTerm: s.LastTerm}
	out.Hub, out.Epoch = m.Hub()
	if err := r.accepts(s, &out); err != nil {
		return out, err
	}
	if out.NewEpoch, err = newEpoch(r.Random, out.Epoch); err != nil {
		return out, err
	}
	if err := r.replay(s, m, begun, &out); err != nil {
		return out, fmt.Errorf("recover: %w", err)
	}
	if err := r.mayEnd(m.Roster(), s.Members); err != nil {
		return out, err
	}
	r.forget(m, s.Members)
	image := m.Image()
	out.NewIndex, out.Pacts = image.Meta.Index, image.Meta.Pacts
	if r.DryRun {
		out.NewEpoch, out.NewIndex = 0, 0
		return out, nil
	}
	out.Kept = "lost-" + out.Epoch.String()
	return out, s.Replace(replica.Planted{Node: r.Node, State: image, Term: s.Term + termStep, MemTableBytes: r.MemTableBytes}, out.Kept)
}

// begin applies what founds the hub, if no checkpoint holds that yet, and returns
// the entry up to which it did.
func begin(s *replica.Survivor, m *state.Machine) (index uint64, err error) {
	index = m.Index()
	found := errors.New("founded")
	err = s.Behind(func(at uint64, e command.Entry) error {
		if hub, _ := m.Hub(); !hub.IsZero() {
			return found
		}
		index = at
		return apply(m, at, e)
	})
	if errors.Is(err, found) {
		err = nil
	}
	return index, err
}

func apply(m *state.Machine, index uint64, e command.Entry) error {
	done, err := m.Prepare(e)
	if err != nil {
		return fmt.Errorf("entry %d: %w", index, err)
	}
	m.Apply(index, e)
	done()
	return nil
}

// accepts guards against the wrong node, and against a hub that needs no rescue.
func (r *Rescue) accepts(s *replica.Survivor, out *Rescued) error {
	others := slices.ContainsFunc(s.Members, func(m replica.Member) bool { return m.Voter && m.Node != r.Node })
	switch {
	case out.Hub.IsZero():
		return fault(CodeUnfounded, errors.New("the node holds no hub"))
	case out.Hub != r.Hub:
		return fault(CodeOtherHub, fmt.Errorf("the directory is of hub %s, this node's certificate of hub %s", out.Hub, r.Hub))
	case !others:
		return fault(CodeWhole, fmt.Errorf("node %s is the hub's only voter", r.Node))
	case s.Term > termsMargin || s.Last > math.MaxUint64-termStep:
		return fault(CodeDamaged, fmt.Errorf("entry %d of term %d", s.Last, s.Term))
	}
	return nil
}

// replay forks the state and applies what the log holds behind it, moved by the
// entry of the fork.
func (r *Rescue) replay(s *replica.Survivor, m *state.Machine, begun uint64, out *Rescued) error {
	fork := command.Entry{Commands: []command.Command{&command.Fork{Parent: out.Epoch, Child: out.NewEpoch}}}
	if result := m.Apply(begun+1, fork); result.Skipped || result.Commands[0].Reason != "" {
		return fmt.Errorf("the state does not fork: %+v", result)
	}
	return s.Behind(func(index uint64, e command.Entry) error {
		if index <= begun {
			return nil
		}
		out.Behind++
		e.Commands = carried(e.Commands, out.Epoch, out.NewEpoch)
		return apply(m, index+1, e)
	})
}

// carried is what of an entry makes sense in the new epoch. Audits compare nodes
// that are gone, at entries that have moved.
func carried(commands []command.Command, from, to crdt.Epoch) []command.Command {
	var out []command.Command
	for _, c := range commands {
		switch c := c.(type) {
		case *command.Audit, *command.Tally:
			continue
		case *command.Publish:
			if c.Epoch == from {
				c.Epoch = to
			}
		case *command.Offer:
			if c.Epoch == from {
				c.Epoch = to
			}
		}
		out = append(out, c)
	}
	return out
}

// mayEnd asks whether the others are gone.
func (r *Rescue) mayEnd(roster *state.Roster, members []replica.Member) error {
	if r.Runs == nil {
		return nil
	}
	for _, m := range members {
		n, known := roster.Node(m.Node)
		if m.Node == r.Node || !known || !n.Told() {
			continue
		}
		if err := r.Runs(m.Node, n.Nodes); err != nil {
			return err
		}
	}
	return nil
}

// forget removes the others for good: whoever comes back under such a name is told
// so, and ends.
func (r *Rescue) forget(m *state.Machine, members []replica.Member) {
	e := command.Entry{TimeMillis: r.Now().UnixMilli()}
	for _, other := range members {
		if other.Node != r.Node {
			e.Commands = append(e.Commands, &command.Node{Act: command.NodeRemove, Name: other.Node, Why: r.Why})
		}
	}
	m.Apply(m.Index()+1, e)
}
