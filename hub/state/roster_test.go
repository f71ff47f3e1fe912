package state_test

import (
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
)

func admit(name, replaces string) *command.Node {
	return &command.Node{Act: command.NodeAdmit, Name: name, Replaces: replaces}
}

func tell(name string) *command.Node {
	return &command.Node{
		Act: command.NodeTell, Name: name, Nodes: name + ".hub.example:7444", Agents: name + ".hub.example:7443",
		Software: "v1", Speaks: command.KindToken, ExpiresMillis: now + 1,
	}
}

func replace(name, replaces string) *command.Node {
	return &command.Node{Act: command.NodeReplace, Name: name, Replaces: replaces}
}

func remove(name string) *command.Node {
	return &command.Node{Act: command.NodeRemove, Name: name, Why: "dead"}
}

func issue(id byte, node, replaces string, expires int64) *command.Token {
	return &command.Token{
		Act: command.TokenIssue, ID: command.TokenID{id}, Node: node, Replaces: replaces, Secret: [32]byte{id}, ExpiresMillis: expires,
	}
}

func spend(id, key byte) *command.Token {
	return &command.Token{Act: command.TokenSpend, ID: command.TokenID{id}, Key: [32]byte{key}}
}

// Each step's answer, in order, on one hub.
func TestRoster(t *testing.T) {
	const later = now + 1000
	badTell := func(change func(*command.Node)) command.Command {
		c := tell("n1")
		change(c)
		return c
	}
	l := newLog(t)
	for i, c := range []struct {
		c    command.Command
		want state.Reason
	}{
		{tell("n1"), ""}, // a founder
		{admit("n1", ""), state.ReasonNodeKnown},
		{admit("n2", ""), ""},
		{admit("n2", "n1"), ""}, // not joined yet: the newer act counts
		{admit("", ""), state.ReasonNodeMalformed},
		{admit("N 2", ""), state.ReasonNodeMalformed},
		{admit("n2", "n2"), state.ReasonNodeMalformed},
		{admit("n2", "N 1"), state.ReasonNodeMalformed},
		{&command.Node{Act: 9, Name: "n1"}, state.ReasonNodeMalformed},
		{badTell(func(c *command.Node) { c.Nodes = "10.0.0.1:7444" }), state.ReasonNodeMalformed},
		{badTell(func(c *command.Node) { c.Agents = "" }), state.ReasonNodeMalformed},
		{badTell(func(c *command.Node) { c.Speaks = command.KindAudit }), state.ReasonNodeMalformed},
		{replace("n9", "n1"), state.ReasonNodeUnknown},
		{replace("n2", ""), ""},
		{replace("n2", "n1"), ""},
		{remove("n1"), ""},
		{remove("n1"), state.ReasonNodeRemoved},
		{tell("n1"), state.ReasonNodeRemoved},
		{admit("n1", ""), state.ReasonNodeRemoved},
		{admit("n3", "n1"), state.ReasonNodeRemoved},
		{replace("n2", "n1"), state.ReasonNodeRemoved},
		{issue(1, "n1", "", later), state.ReasonNodeRemoved},
		{issue(1, "n3", "n1", later), state.ReasonNodeRemoved},
		{issue(1, "n3", "", now), state.ReasonToken}, // expires as it is made
		{issue(1, "", "", later), state.ReasonNodeMalformed},
		{issue(1, "n3", "n2", later), ""},
		{issue(1, "n4", "", later), state.ReasonToken}, // the id is taken
		{spend(7, 1), state.ReasonToken},
		{spend(1, 0), state.ReasonToken},
		{spend(1, 1), ""},
		{spend(1, 1), ""}, // the answer got lost
		{spend(1, 2), state.ReasonToken},
		{issue(2, "n3", "", later), ""}, // it has not joined: another token
		{spend(1, 1), state.ReasonToken},
		{tell("n3"), ""},
		{issue(3, "n3", "", later), state.ReasonNodeKnown},
		{spend(2, 3), state.ReasonNodeKnown},
		{&command.Token{Act: 9}, state.ReasonMalformed},
	} {
		before := l.m.Roster()
		got := l.apply(c.c).Commands[0].Reason
		if got != c.want {
			t.Errorf("step %d, %+v: %q, want %q", i, c.c, got, c.want)
		}
		if got != "" && !reflect.DeepEqual(before, l.m.Roster()) {
			t.Errorf("step %d was refused and changed the roster", i)
		}
	}
	n3, _ := l.m.Roster().Node("n3")
	n2, _ := l.m.Roster().Node("n2")
	if n3.Replaces != "n2" || !n3.Told() || n2.Replaces != "" || !l.m.Roster().IsRemoved("n1") || l.m.Roster().IsRemoved("n2") {
		t.Errorf("roster %+v", l.m.Roster())
	}
}

// A token is of no use from the moment that its entry's clock says, whatever the
// clock of a replica is.
func TestTokensExpire(t *testing.T) {
	l := newLog(t)
	at := func(millis int64, c command.Command) state.Reason {
		l.index++
		return l.m.Apply(l.index, command.Entry{TimeMillis: millis, Commands: []command.Command{c}}).Commands[0].Reason
	}
	if got := at(now, issue(1, "n3", "", now+1000)); got != "" {
		t.Fatal(got)
	}
	if got := at(now+1000, spend(1, 1)); got != state.ReasonToken {
		t.Errorf("spent when it had expired: %q", got)
	}
	if got := at(now+999, spend(1, 1)); got != "" {
		t.Errorf("the leader's clock went back: %q", got)
	}
	for i := range state.TokensMax {
		if got := at(now+2000, issue(byte(i), fmt.Sprintf("m%d", i), "", now+9000)); got != "" {
			t.Fatalf("token %d: %s", i, got)
		}
	}
	if got := at(now+2000, issue(200, "last", "", now+9000)); got != state.ReasonTokens {
		t.Errorf("one token too many: %q", got)
	}
	if got := at(now+9000, issue(200, "last", "", now+9001)); got != "" || len(l.m.Roster().Tokens) != 1 {
		t.Errorf("expired tokens stay: %q, %d", got, len(l.m.Roster().Tokens))
	}
}

// Neither live nor removed nodes grow without bound.
func TestRosterIsBounded(t *testing.T) {
	l := newLog(t)
	for i := range 1200 {
		name := fmt.Sprintf("gone%d", i)
		for _, c := range []command.Command{admit(name, ""), remove(name)} {
			l.index++
			if got := l.m.Apply(l.index, command.Entry{TimeMillis: now + int64(i), Commands: []command.Command{c}}).Commands[0].Reason; got != "" {
				t.Fatalf("%s: %s", name, got)
			}
		}
	}
	r := l.m.Roster()
	if len(r.Nodes) != 1024 || r.IsRemoved("gone175") || !r.IsRemoved("gone176") || !r.IsRemoved("gone1199") {
		t.Errorf("%d nodes", len(r.Nodes))
	}
	for i := range state.NodesMax {
		if got := l.apply(admit(fmt.Sprintf("n%d", i), "")).Commands[0].Reason; got != "" {
			t.Fatal(got)
		}
	}
	if got := l.apply(tell("last")).Commands[0].Reason; got != state.ReasonNodes {
		t.Errorf("one node too many: %q", got)
	}
}

// Whatever was said of nodes in whatever order, an image restores to the same
// roster, a changed row is found, and a removed name never comes back.
func TestRosterLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLog(t)
		name := rapid.SampledFrom([]string{"a", "b", "c", "d"})
		removed := map[string]bool{}
		for range rapid.IntRange(0, 30).Draw(t, "commands") {
			n, other, id := name.Draw(t, "node"), name.Draw(t, "other"), byte(rapid.IntRange(1, 3).Draw(t, "id"))
			c := rapid.SampledFrom([]command.Command{
				admit(n, other), tell(n), replace(n, other), remove(n), issue(id, n, other, now+1), spend(id, byte(len(n))),
			}).Draw(t, "command")
			res := l.apply(c).Commands[0]
			if node, ok := c.(*command.Node); ok && removed[node.Name] && res.Reason == "" {
				t.Fatalf("a removed node changed: %+v", c)
			} else if ok && node.Act == command.NodeRemove && res.Reason == "" {
				removed[node.Name] = true
			}
		}
		img := l.m.Image()
		again := state.New()
		if err := again.Restore(img); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(again.Roster(), l.m.Roster()) {
			t.Fatal("the roster was not restored")
		}
		for n := range removed {
			if !again.Roster().IsRemoved(n) {
				t.Fatalf("%s came back", n)
			}
		}
		if img.Roster == nil || len(img.Roster.Nodes) == 0 {
			return
		}
		changed := *img.Roster
		changed.Nodes = append([]state.NodeState(nil), changed.Nodes...)
		changed.Nodes[0].Agents += "x"
		img.Roster = &changed
		if state.New().Restore(img) == nil {
			t.Fatal("a changed roster was restored")
		}
		img.Roster = nil
		if state.New().Restore(img) == nil {
			t.Fatal("a missing roster was restored")
		}
	})
}
