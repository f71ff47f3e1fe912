package company_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/entente-sync/entente/bench/company"
	"github.com/entente-sync/entente/hub/hubtest"
)

// An agent that knows one node, a follower, reaches the leader by what that node
// tells it; and the next leader when that one dies.
func TestAgentKnowsOneFollower(t *testing.T) {
	c := hubtest.Start(t, 3, nil, nil)
	leader := c.Leader()
	known := c.Nodes()[0]
	if known == leader {
		known = c.Nodes()[1]
	}
	acme, globex := company.Start(t, c, "acme", known.Address()), company.Start(t, c, "globex", known.Address())
	acme.Ticket("before")
	both(t, acme, globex)
	if at := acme.Status().Hub.Address; at != c.Leader().Address() {
		t.Errorf("an agent with edits is at %s, the leader at %s", at, c.Leader().Address())
	}
	c.Leader().Kill()
	acme.Ticket("while nobody leads")
	globex.Retitle("before", "before, edited")
	company.Eventually(t, "both edits at both desks", func() bool {
		one, two := acme.Titles(), globex.Titles()
		return one["before, edited"] == 1 && two["while nobody leads"] == 1 && len(one) == 2 && len(two) == 2
	})
	acme.Settled()
	globex.Settled()
}

// Every node is stopped and started again, the leader last, while both companies
// open tickets. None is refused or lost, and none comes twice.
func TestRollingRestartUnderAgents(t *testing.T) {
	c := hubtest.Start(t, 3, nil, nil)
	acme, globex := company.Start(t, c, "acme", c.Addresses()...), company.Start(t, c, "globex", c.Addresses()...)
	acme.Ticket("first")
	both(t, acme, globex)
	opened := 1
	open := func() {
		acme.Ticket(fmt.Sprintf("acme %d", opened))
		globex.Ticket(fmt.Sprintf("globex %d", opened))
		opened += 2
	}
	leader := c.Leader()
	var order []*hubtest.Node
	for _, n := range c.Nodes() {
		if n != leader {
			order = append(order, n)
		}
	}
	refused := 0
	for _, n := range append(order, leader) {
		open()
		refused += refusals(n) // they go with the process
		if err := n.Stop(); err != nil {
			t.Fatal(err)
		}
		open()
		c.Restart(n)
		open()
		company.Eventually(t, "readiness of "+n.Name, func() bool { return n.Hub().Readyz() == nil })
	}
	both(t, acme, globex)
	for _, n := range c.Nodes() {
		refused += refusals(n)
	}
	if refused > 0 {
		t.Errorf("%d ops were refused", refused)
	}
	titles := acme.Titles()
	for title, n := range titles {
		if n != 1 {
			t.Errorf("%q is there %d times", title, n)
		}
	}
	if len(titles) != opened {
		t.Errorf("%d tickets at the desks, %d were opened", len(titles), opened)
	}
	company.Eventually(t, "one state on all nodes", func() bool { return held(c) != "" })
}

// refusals counts the ops that a node has refused for good.
func refusals(n *hubtest.Node) (refused int) {
	w := httptest.NewRecorder()
	n.Hub().Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "entente_hub_ops_total{") && strings.Contains(line, `outcome="refused"`) {
			refused++
		}
	}
	return refused
}
