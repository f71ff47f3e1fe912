package command_test

import (
	"testing"

	"github.com/entente-sync/entente/hub/command"
)

// Every kind but the hub's own belongs to the site that sent it, whose turns and
// bounds it takes in the queue.
func TestFlows(t *testing.T) {
	hubs := map[command.Kind]string{
		command.KindFound:     "once",
		command.KindFork:      "after a restore",
		command.KindPutPact:   "from an operator",
		command.KindAudit:     "each minute",
		command.KindOfferPact: "once every member has sent it",
		command.KindNode:      "from an operator",
		command.KindToken:     "from an operator",
		command.KindTally:     "from the leader",
		command.KindLevel:     "no command",
		command.KindHistory:   "no command",
	}
	of := command.Flow{Pact: "tickets", Site: "acme"}
	members := map[command.Kind]command.Command{
		command.KindPublish: &command.Publish{Pact: of.Pact, Site: of.Site},
		command.KindOffer:   &command.Offer{Pact: of.Pact, Site: of.Site},
	}
	for kind := command.KindFound; kind <= command.KindNewest; kind++ {
		c := members[kind]
		if (c == nil) == (hubs[kind] == "") {
			t.Errorf("%s is neither the hub's own nor a member's, or both", kind)
		}
		if c != nil && (c.Kind() != kind || command.FlowOf(c) != of) {
			t.Errorf("%s is the work of %+v, want %+v", kind, command.FlowOf(c), of)
		}
	}
}
