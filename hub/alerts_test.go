package hub_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// When no node is scraped every series of theirs is gone, and an expression of them
// alone rings for nothing: these alerts ask for that, too.
func TestAlertsRingWhenNoNodeIsScraped(t *testing.T) {
	rules, err := os.ReadFile(filepath.Join("..", "deploy", "prometheus", "entente-hub.rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, alert := range []string{"HubNoLeader", "HubInsufficientMembers"} {
		expr := regexp.MustCompile(`alert: ` + alert + `\n *expr: (.*)`).FindSubmatch(rules)
		if expr == nil || !strings.Contains(string(expr[1]), "or absent(entente_hub_raft_is_leader)") {
			t.Errorf("%s: %s", alert, expr)
		}
	}
}

// A node that has stopped itself is not there to say so: no alert may wait for it.
func TestNoAlertAsksTheDead(t *testing.T) {
	rules, err := os.ReadFile(filepath.Join("..", "deploy", "prometheus", "entente-hub.rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(rules), "entente_hub_stopped") {
		t.Error("an alert asks for entente_hub_stopped, which ends with its process")
	}
}
