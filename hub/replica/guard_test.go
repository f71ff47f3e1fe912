package replica

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// drawView makes a cluster of any shape: dead nodes, learners, laggards, a leader
// or none, successors that make sense or not.
func drawView(t *rapid.T) *View {
	v := &View{Successors: map[string]string{}}
	for i := range rapid.IntRange(1, 7).Draw(t, "members") {
		v.Members = append(v.Members, Member{
			Node: fmt.Sprintf("n%d", i+1), Voter: rapid.IntRange(0, 3).Draw(t, "learner") > 0,
			Alive: rapid.IntRange(0, 3).Draw(t, "dead") > 0, Behind: rapid.SampledFrom([]uint64{0, 3, lagEntriesMax, lagEntriesMax + 1}).Draw(t, "behind"),
		})
	}
	for i := range v.Members {
		if m := &v.Members[i]; m.Voter && m.Alive && rapid.Bool().Draw(t, "leads") {
			v.Leader, m.Behind = m.Node, 0
			break
		}
	}
	for range rapid.IntRange(0, 2).Draw(t, "successors") {
		v.Successors[drawNode(t, v)] = drawNode(t, v)
	}
	return v
}

// drawNode names a member, or now and then nobody.
func drawNode(t *rapid.T, v *View) string {
	return fmt.Sprintf("n%d", rapid.IntRange(1, len(v.Members)+1).Draw(t, "node"))
}

// works reports whether members can commit: counted here, not by the View.
func works(members []Member) bool {
	voters, alive := 0, 0
	for _, m := range members {
		if m.Voter {
			voters++
			if m.Alive {
				alive++
			}
		}
	}
	return alive > voters-alive
}

func leaving(v *View, node string) []Member {
	return slices.DeleteFunc(slices.Clone(v.Members), func(m Member) bool { return m.Node == node })
}

// survives reports whether members can commit, whichever further one dies.
func survives(members []Member) bool {
	for i := range members {
		rest := slices.Clone(members)
		rest[i].Alive = false
		if !works(rest) {
			return false
		}
	}
	return true
}

// What is allowed leaves a hub that works and bears a failure; what may be forced
// leaves one that works; nobody who insists ends the hub.
func TestRemovingLeavesAMajority(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		node := drawNode(t, v)
		m, member := v.member(node)
		refusal := v.CheckRemove(node)
		switch {
		case refusal != nil && refusal.Forceable && !works(leaving(v, node)):
			t.Fatalf("%+v: the removal of %s may be forced and ends the hub: %+v", v, node, refusal)
		case refusal != nil && refusal.Code == "":
			t.Fatalf("a refusal without a code: %+v", refusal)
		case refusal == nil && !member:
			t.Fatalf("%+v: %s is no member and may leave", v, node)
		case refusal == nil && m.Voter && (node == v.Leader || !survives(leaving(v, node))):
			t.Fatalf("%+v: the voter %s may leave", v, node)
		}
	})
}

// A successor takes a place only where the hub works and bears as much as before.
func TestReplacingCostsNoMajority(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		node, by := drawNode(t, v), drawNode(t, v)
		if v.CheckReplaced(node, by) != nil {
			return
		}
		rest := leaving(v, node)
		successor := slices.IndexFunc(rest, func(m Member) bool { return m.Node == by })
		if successor < 0 || !rest[successor].Voter || !rest[successor].Alive {
			t.Fatalf("%+v: %s is replaced by %s, which does not vote", v, node, by)
		}
		if !works(rest) || survives(v.Members) && !survives(rest) {
			t.Fatalf("%+v: without %s the hub bears less", v, node)
		}
		back := slices.Clone(v.Members)
		for i := range back {
			back[i].Alive = back[i].Alive || back[i].Node == node
		}
		if survives(back) && !survives(rest) {
			t.Fatalf("%+v: were %s back the hub would bear a failure, and without it does not", v, node)
		}
	})
}

// Who may become a successor adds a vote, and is bound to nobody else.
func TestSuccessorIsAdditional(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		node, by := drawNode(t, v), drawNode(t, v)
		if v.CheckReplace(node, by) != nil {
			return
		}
		for old, successor := range v.Successors {
			if (old == node) != (successor == by) && v.Successors[node] != by {
				t.Fatalf("%+v: %s may become the successor of %s", v, by, node)
			}
		}
		if m, member := v.member(by); member && m.Voter && v.Successors[node] != by {
			t.Fatalf("%+v: the voter %s may become the successor of %s", v, by, node)
		}
	})
}

// Who is handed leadership votes and has what was committed.
func TestTransferGoesToAVoter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		node := drawNode(t, v)
		m, member := v.member(node)
		if v.CheckTransfer(node) == nil && (!member || !m.Voter || node != v.Leader && (!m.Alive || m.Behind > lagEntriesMax)) {
			t.Fatalf("%+v: %s may lead", v, node)
		}
	})
}

// However orders follow each other: as long as nothing dies meanwhile, a hub that
// works goes on working, and its leader stays.
func TestNoPlanLosesTheMajority(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		if !works(v.Members) || v.Leader == "" {
			t.Skip("it does not work to begin with")
		}
		for range rapid.IntRange(1, 12).Draw(t, "orders") {
			node := drawNode(t, v)
			i := slices.IndexFunc(v.Members, func(m Member) bool { return m.Node == node })
			order := rapid.SampledFrom([]string{"promote", "remove", "force", "replace"}).Draw(t, "order")
			switch {
			case i < 0:
				continue
			case order == "promote" && v.Members[i].mayVote():
				v.Members[i].Voter = true
			case order == "remove" && v.CheckRemove(node) == nil,
				order == "replace" && node != v.Leader && v.CheckReplaced(node, v.Successors[node]) == nil:
				v.Members = leaving(v, node)
			case order == "force" && node != v.Leader:
				if refusal := v.CheckRemove(node); refusal == nil || refusal.Forceable {
					v.Members = leaving(v, node)
				}
			}
			if _, stays := v.member(v.Leader); !works(v.Members) || !stays {
				t.Fatalf("after %s of %s: %+v", order, node, v)
			}
		}
	})
}
