package replica

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Refusal is why an order about members would be unsafe, and what to do instead.
type Refusal struct {
	Code string // stable, dotted
	What string
	Next string
	// Forceable: an operator who knows better may insist. What would end the
	// cluster cannot be forced.
	Forceable bool
}

func (r *Refusal) Error() string { return r.Code + ": " + r.What }

// Codes of refusals.
const (
	RefusedUnknown   = "member.unknown"   // no such member
	RefusedLeader    = "member.leader"    // it leads
	RefusedQuorum    = "member.quorum"    // the rest could not go on
	RefusedTolerance = "member.tolerance" // the rest could not lose another node
	RefusedReplacing = "member.replacing" // another node is on its way into its place
	RefusedLearner   = "member.learner"   // it has no vote
	RefusedVoter     = "member.voter"     // it has a vote already
	RefusedBehind    = "member.behind"    // it does not answer, or has not caught up
)

// View is the cluster as an order about members finds it.
type View struct {
	Leader  string
	Members []Member
	// Successors maps members to those that shall take their places.
	Successors map[string]string
}

// Tolerance is how many more voters may fail before nothing can be committed:
// below 0, nothing can be.
func (v *View) Tolerance() int {
	voters, alive := 0, 0
	for _, m := range v.Members {
		if m.Voter {
			voters++
			if m.Alive {
				alive++
			}
		}
	}
	return alive - (voters/2 + 1)
}

func (v *View) member(node string) (Member, bool) {
	for _, m := range v.Members {
		if m.Node == node {
			return m, true
		}
	}
	return Member{}, false
}

// with is the cluster as it is when node answers.
func (v *View) with(node string) *View {
	whole := &View{Leader: v.Leader, Members: slices.Clone(v.Members)}
	for i := range whole.Members {
		whole.Members[i].Alive = whole.Members[i].Alive || whole.Members[i].Node == node
	}
	return whole
}

func (v *View) without(node string) *View {
	rest := &View{Leader: v.Leader}
	for _, m := range v.Members {
		if m.Node != node {
			rest.Members = append(rest.Members, m)
		}
	}
	return rest
}

const nextQuorum = "start the nodes that do not answer; if they are lost for good: entente hub recover --dry-run -f FILE"

// CheckReplace says whether by may become the successor of node. It must not have
// a vote yet: a voter is no addition, and the hub would have one less in the end.
func (v *View) CheckReplace(node, by string) *Refusal {
	newcomer, _ := v.member(by)
	switch bound := v.replacedBy(by); {
	case v.Tolerance() < 0:
		return &Refusal{Code: RefusedQuorum, What: "no majority of the voters answers: nothing can be changed", Next: nextQuorum}
	case bound == node:
		return nil
	case bound != "":
		return &Refusal{
			Code: RefusedReplacing, What: fmt.Sprintf("%s is on its way into the place of %s", by, bound),
			Next: "name another node, or take that back: entente hub replace " + bound + " --cancel",
		}
	case v.Successors[node] != "":
		return &Refusal{
			Code: RefusedReplacing, What: fmt.Sprintf("%s is on its way into the place of %s", v.Successors[node], node),
			Next: "wait, or take that back: entente hub replace " + node + " --cancel",
		}
	case newcomer.Voter:
		return &Refusal{
			Code: RefusedVoter, What: by + " has a vote already: the hub would have one voter less",
			Next: "name a node that is not a member yet; if fewer voters are meant: entente hub remove " + node,
		}
	}
	return nil
}

// replacedBy is the member whose place by shall take, the first by name, "" for none.
func (v *View) replacedBy(by string) string {
	for _, node := range slices.Sorted(maps.Keys(v.Successors)) {
		if v.Successors[node] == by {
			return node
		}
	}
	return ""
}

// CheckRemove says whether node may leave now; nil: it may.
func (v *View) CheckRemove(node string) *Refusal {
	m, ok := v.member(node)
	switch {
	case !ok:
		return &Refusal{Code: RefusedUnknown, What: fmt.Sprintf("%s is no member; members are %s", node, v.names())}
	case !m.Voter:
		return nil
	case node == v.Leader:
		return &Refusal{
			Code: RefusedLeader, What: node + " leads the hub",
			Next: "hand over first: entente hub transfer", Forceable: len(v.Members) > 1 && v.without(node).Tolerance() >= 0,
		}
	}
	rest := v.without(node)
	switch tolerance := rest.Tolerance(); {
	case tolerance < 0:
		return &Refusal{
			Code: RefusedQuorum, What: fmt.Sprintf("without %s no majority of the voters answers, and nothing could be committed any more", node),
			Next: nextQuorum,
		}
	case tolerance == 0:
		return &Refusal{
			Code: RefusedTolerance, What: fmt.Sprintf("without %s the hub stops at the next failure", node),
			Next: "let another node join first: entente hub replace " + node + " --by NEW", Forceable: true,
		}
	}
	if by := v.Successors[node]; by != "" {
		return &Refusal{
			Code: RefusedReplacing, What: fmt.Sprintf("%s is on its way into the place of %s, which then leaves by itself", by, node),
			Next: "wait, and look with: entente hub members", Forceable: true,
		}
	}
	return nil
}

// CheckReplaced says whether node may leave now that its successor votes. It
// needs no more than that the rest works as well as before, since the successor
// makes up for it; and that the rest bears a failure if the hub did with node back:
// a node that is away for a moment is not what the hub is measured by.
func (v *View) CheckReplaced(node, by string) *Refusal {
	successor, ok := v.member(by)
	if !ok || by == node || !successor.Voter || !successor.Alive || successor.Behind > lagEntriesMax {
		return &Refusal{Code: RefusedBehind, What: by + " does not vote yet, or does not answer"}
	}
	if rest := v.without(node); rest.Tolerance() < max(0, v.Tolerance(), min(1, v.with(node).Tolerance())) {
		return &Refusal{Code: RefusedTolerance, What: fmt.Sprintf("without %s fewer failures would be survived than with it", node)}
	}
	return nil
}

// CheckTransfer says whether node may lead.
func (v *View) CheckTransfer(node string) *Refusal {
	m, ok := v.member(node)
	switch {
	case !ok:
		return &Refusal{Code: RefusedUnknown, What: fmt.Sprintf("%s is no member; members are %s", node, v.names())}
	case !m.Voter:
		return &Refusal{Code: RefusedLearner, What: node + " has no vote yet", Next: "wait until it has caught up: entente hub members"}
	case node != v.Leader && (!m.Alive || m.Behind > lagEntriesMax):
		return &Refusal{
			Code: RefusedBehind, What: fmt.Sprintf("%s does not answer, or lacks %d entries", node, m.Behind),
			Next: "choose another node, or leave the choice to the hub: entente hub transfer",
		}
	}
	return nil
}

func (v *View) names() string {
	var names []string
	for _, m := range v.Members {
		names = append(names, m.Node)
	}
	return strings.Join(names, ", ")
}
