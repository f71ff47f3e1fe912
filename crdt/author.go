package crdt

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Author is who emits ops: one incarnation of one agent of one site. An agent
// takes a new incarnation after every open that may have lost memory, so that
// (pact, author, seq) names one op for ever.
type Author struct {
	Site        Site
	Agent       AgentName
	Incarnation uint64
}

// Compare orders authors by site, agent, incarnation. It breaks ties of stamps.
func (a Author) Compare(b Author) int {
	if c := cmp.Compare(a.Site, b.Site); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Agent, b.Agent); c != 0 {
		return c
	}
	return cmp.Compare(a.Incarnation, b.Incarnation)
}

// IsZero reports whether a is unset.
func (a Author) IsZero() bool { return a == Author{} }

// String returns site/agent/incarnation, which ParseAuthor reads.
func (a Author) String() string {
	return string(a.Site) + "/" + string(a.Agent) + "/" + strconv.FormatUint(a.Incarnation, 10)
}

// Validate reports the first malformed part; incarnations begin at 1.
func (a Author) Validate() error {
	if _, err := ParseSite(string(a.Site)); err != nil {
		return err
	}
	if _, err := ParseAgentName(string(a.Agent)); err != nil {
		return err
	}
	if a.Incarnation == 0 {
		return fmt.Errorf("%w: author %s: incarnations begin at 1", ErrName, a)
	}
	return nil
}

// ParseAuthor reads what Author.String writes.
func ParseAuthor(s string) (Author, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return Author{}, fmt.Errorf("%w: author %q (want site/agent/incarnation)", ErrName, clip(s))
	}
	n, err := strconv.ParseUint(parts[2], 10, 64)
	if err != nil {
		return Author{}, fmt.Errorf("%w: author %q: incarnation is no number", ErrName, clip(s))
	}
	a := Author{Site: Site(parts[0]), Agent: AgentName(parts[1]), Incarnation: n}
	return a, a.Validate()
}

// Seq numbers the ops of one author in one pact, contiguously from 1.
// Zero marks a register version that the hub derived, such as a conflict record.
type Seq uint64

// OpID names one op within a pact, for ever. The zero OpID names none.
type OpID struct {
	Author Author
	Seq    Seq
}

// IsZero reports whether id names no op.
func (id OpID) IsZero() bool { return id.Seq == 0 && id.Author.IsZero() }

// ParseOpID reads what String writes.
func ParseOpID(s string) (OpID, error) {
	name, number, ok := strings.Cut(s, "#")
	if !ok {
		return OpID{}, fmt.Errorf("%w: op %q (want site/agent/incarnation#seq)", ErrName, clip(s))
	}
	author, err := ParseAuthor(name)
	if err != nil {
		return OpID{}, err
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n == 0 {
		return OpID{}, fmt.Errorf("%w: op %q: seq is no number from 1 on", ErrName, clip(s))
	}
	return OpID{Author: author, Seq: Seq(n)}, nil
}

// String returns author#seq.
func (id OpID) String() string {
	return id.Author.String() + "#" + strconv.FormatUint(uint64(id.Seq), 10)
}
