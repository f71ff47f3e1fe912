package admin

import (
	"context"
	"time"

	"github.com/entente-sync/entente/proto/adminhttp"
)

const pathMembers = "/v1/members"

// Roles of a member.
const (
	RoleLeader  = "leader"
	RoleVoter   = "voter"
	RoleLearner = "learner" // gets the log, has no vote yet
)

// Members is who belongs to the hub, as one node sees it.
type Members struct {
	Hub    string `json:"hub"`
	Node   string `json:"node"`             // that answers
	Leader string `json:"leader,omitempty"` // empty while none is known
	// FailureTolerance is how many more nodes may fail before the hub stops taking
	// writes. Only a leader knows.
	FailureTolerance *int     `json:"failureTolerance,omitempty"`
	Members          []Member `json:"members"` // in the order in which they joined
}

// Tolerance is FailureTolerance, or -1 if the node that answers does not know.
func (m Members) Tolerance() int {
	if m.FailureTolerance == nil {
		return -1
	}
	return *m.FailureTolerance
}

// Member is one node of the hub.
type Member struct {
	Node string `json:"node"`
	Role string `json:"role"`
	// Alive: it answered within the heartbeat timeout. Lag: committed entries that
	// it is not known to have. Only a leader knows either.
	Alive *bool   `json:"alive,omitempty"`
	Lag   *uint64 `json:"lag,omitempty"`
	// What the node last said of itself.
	Nodes              string     `json:"nodes,omitempty"`
	Agents             string     `json:"agents,omitempty"`
	Software           string     `json:"software,omitempty"`
	CertificateExpires *time.Time `json:"certificateExpires,omitempty"`
	// Replaces is the node that leaves once this one votes.
	Replaces string `json:"replaces,omitempty"`
}

// ServeMembers answers who belongs to the hub.
func ServeMembers(members func(context.Context) (Members, error)) adminhttp.Verb {
	return adminhttp.Ask("GET "+pathMembers, members)
}

// Members asks who belongs to the hub.
func (c *Client) Members(ctx context.Context) (Members, error) {
	return get[Members](ctx, c, pathMembers)
}
