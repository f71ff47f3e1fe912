package cli

import (
	"strings"
	"testing"

	"github.com/entente-sync/entente/hub/admin"
)

// The last lines say whether the hub works, and what to do if it does not.
func TestMembersVerdict(t *testing.T) {
	one := 1
	for _, c := range []struct {
		members admin.Members
		want    string
	}{
		{admin.Members{Hub: "h", Leader: "n1", FailureTolerance: &one}, "hub h: 1 more may fail\n"},
		{
			admin.Members{Hub: "h", Node: "n1"},
			"hub h: no leader known: the hub takes no writes\nnext: start the other nodes, else entente hub recover --dry-run -f n1/hub.yaml\n",
		},
		{
			admin.Members{Hub: "h", Node: "n1", Leader: "n2"},
			"hub h: n2 leads and does not answer n1: how many more may fail is not known\nnext: try again, or ask at n2\n",
		},
	} {
		var out strings.Builder
		if err := writeMembers(&out, c.members, "n1/hub.yaml"); err != nil {
			t.Fatal(err)
		}
		if _, said, _ := strings.Cut(out.String(), "\n"); said != c.want {
			t.Errorf("%q, want %q", said, c.want)
		}
	}
}

// A successor is shown beside the node that it replaces.
func TestMembersShowSuccessors(t *testing.T) {
	var out strings.Builder
	err := writeMembers(&out, admin.Members{Members: []admin.Member{{Node: "n4", Role: admin.RoleLearner, Replaces: "n2"}}}, "hub.yaml")
	row := strings.Fields(strings.Split(out.String(), "\n")[1])
	if err != nil || row[0] != "n4" || row[len(row)-1] != "n2" {
		t.Errorf("%v, %v", row, err)
	}
}
