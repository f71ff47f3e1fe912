package command

import (
	"crypto/sha256"
	"fmt"

	"github.com/entente-sync/entente/hub/codec"
)

// Tally carries what every member of the hub remembered at the audit of entry
// Index. A majority of the voters decides which state is the hub's: see Verdict.
type Tally struct {
	Index uint64
	Votes []Vote // of every member, sorted by node
}

// Vote is what one member answered.
type Vote struct {
	Node     string
	Voter    bool // else a learner, which is compared and decides nothing
	Answered bool // else it could not be asked, or stood at another audit
	Digest   AuditDigest
}

// AuditDigest sums up the digests of all pacts at an audit.
type AuditDigest [sha256.Size]byte

// DigestOf sums up pacts, which are sorted.
func DigestOf(pacts []PactDigest) AuditDigest {
	var b []byte
	for i := range pacts {
		b = pacts[i].append(b)
	}
	return sha256.Sum256(b)
}

// Verdict is what a Tally says of the hub.
type Verdict uint8

// Verdicts.
const (
	// VerdictUnchecked: too few answered, and those who did agree.
	VerdictUnchecked Verdict = iota + 1
	// VerdictAgreed: a majority of the voters has one state, which is the hub's.
	// Whoever has another one must stop.
	VerdictAgreed
	// VerdictDisputed: there are several states and a majority for none, so nobody
	// can tell which is the hub's. Nothing may be promised any more.
	VerdictDisputed
)

func (v Verdict) String() string {
	names := [...]string{"none", "unchecked", "agreed", "disputed"}
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// Verdict decides, and returns the digest of the majority if there is one.
func (c *Tally) Verdict() (Verdict, AuditDigest) {
	voters, states := 0, map[AuditDigest]int{} // never ranged over for its order
	for _, v := range c.Votes {
		if v.Voter {
			voters++
			if v.Answered {
				states[v.Digest]++
			}
		}
	}
	for digest, n := range states {
		if 2*n > voters { // at most one
			return VerdictAgreed, digest
		}
	}
	if len(states) > 1 {
		return VerdictDisputed, AuditDigest{}
	}
	return VerdictUnchecked, AuditDigest{}
}

// Mismatch reports whether two members answered with different states.
func (c *Tally) Mismatch() bool {
	var first *Vote
	for i := range c.Votes {
		v := &c.Votes[i]
		if !v.Answered {
			continue
		}
		if first == nil {
			first = v
		}
		if v.Digest != first.Digest {
			return true
		}
	}
	return false
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Kind implements Command.
func (*Tally) Kind() Kind { return KindTally }

// tallyFormat begins the body, so that it can grow.
const tallyFormat = 1

const (
	voteVoter    = 1
	voteAnswered = 2
)

func (c *Tally) appendBody(b []byte) []byte {
	b = codec.AppendUvarint(append(b, tallyFormat), c.Index)
	for _, v := range c.Votes {
		b = codec.AppendBytes(b, v.Node)
		b = append(b, byte(boolInt(v.Voter)*voteVoter+boolInt(v.Answered)*voteAnswered))
		if v.Answered {
			b = append(b, v.Digest[:]...)
		}
	}
	return b
}

func readTally(r *codec.Reader) (*Tally, error) {
	if err := bodyFormat(r, KindTally, tallyFormat); err != nil {
		return nil, err
	}
	c := &Tally{Index: r.Uvarint(uint64Max)}
	for r.Ok() && r.Len() > 0 {
		v := Vote{Node: r.String(NodeBytesMax)}
		flags := r.Byte()
		if flags > voteVoter|voteAnswered {
			r.Fail()
		}
		v.Voter, v.Answered = flags&voteVoter != 0, flags&voteAnswered != 0
		if v.Answered {
			copy(v.Digest[:], r.Take(len(v.Digest)))
		}
		c.Votes = append(c.Votes, v)
	}
	return c, nil
}

// NodeBytesMax bounds a node's name in a Tally.
const NodeBytesMax = 255
