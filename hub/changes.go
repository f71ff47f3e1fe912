package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/entente-sync/entente/hub/admin"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/replica"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/adminhttp"
	"github.com/entente-sync/entente/proto/wire"
)

const codeOlder = "member.older" // a member is of an older version

// changes are the verbs that change who belongs to the hub. They work on the
// leader: see atLeader.
func (h *Hub) changes() []adminhttp.Verb {
	return []adminhttp.Verb{
		admin.ServeRemove(h.RemoveMember), admin.ServeReplace(h.ReplaceMember),
		admin.ServeTransfer(h.Transfer), admin.ServeToken(h.issue),
	}
}

// view is the cluster as an order about members finds it. Only a leader has one.
func (h *Hub) view() (*replica.View, error) {
	if !h.replica.Leading() {
		return nil, noLeader(h.self.Name)
	}
	members, err := h.replica.Members()
	if err != nil {
		return nil, err
	}
	v := &replica.View{Leader: h.self.Name, Members: members, Successors: map[string]string{}}
	for _, n := range h.State().Roster().Nodes {
		if n.Replaces != "" && !n.Removed {
			v.Successors[n.Replaces] = n.Name
		}
	}
	return v, nil
}

// Admit lets a node with a certificate of this hub join, as leader, without a
// token.
func (h *Hub) Admit(ctx context.Context, node, replaces string) error {
	return h.agree(ctx, &command.Node{Act: command.NodeAdmit, Name: node, Replaces: replaces})
}

// RemoveMember takes a node out of the hub for good, if that is safe. The log
// remembers the order before the membership changes, so that any later leader
// carries it out.
func (h *Hub) RemoveMember(ctx context.Context, r admin.Remove) error {
	h.ordering.Lock()
	defer h.ordering.Unlock()
	v, err := h.view()
	if err != nil {
		return err
	}
	if _, member := member(v, r.Node); h.State().Roster().IsRemoved(r.Node) {
		if !member {
			return refusal(state.ReasonNodeRemoved, r.Node)
		}
		return h.expel(r.Node) // ordered before, and not carried out yet
	}
	if err := unfinished(v, h.State().Roster()); err != nil {
		return err
	}
	// Nothing is lost with a node that was admitted and has not joined: its certificate is revoked.
	_, joined := member(v, r.Node)
	_, admitted := h.State().Roster().Node(r.Node)
	if refused := v.CheckRemove(r.Node); refused != nil && (joined || !admitted) {
		if err := insist(refused, r.Insist); err != nil {
			return err
		}
		h.cfg.Log.Warn("an unsafe order is carried out", "order", "remove", "node", r.Node, "refusal", refused.Code, "reason", r.Reason)
	}
	why := r.Reason
	if len(why) > command.WhyBytesMax {
		return fmt.Errorf("%w: a reason of %d bytes, limit %d", adminhttp.ErrInvalid, len(why), command.WhyBytesMax)
	}
	err = h.agree(ctx, &command.Node{Act: command.NodeRemove, Name: r.Node, Why: why})
	if isOlder(err) { // maybe the dead one: then it could never be removed
		h.cfg.Log.Warn("a member of an older version keeps the hub from remembering who was removed", "node", r.Node)
		err = nil
	}
	if err != nil {
		return err
	}
	h.cfg.Log.Info("node is removed", "node", r.Node, "reason", why)
	if !joined {
		return nil // it can join no more
	}
	return h.expel(r.Node)
}

// ReplaceMember makes one node the successor of another, or says what that would
// do, or takes it back.
func (h *Hub) ReplaceMember(ctx context.Context, r admin.Replace) (admin.Plan, error) {
	h.ordering.Lock()
	defer h.ordering.Unlock()
	v, err := h.view()
	if err != nil {
		return admin.Plan{}, err
	}
	dead, found := member(v, r.Node)
	by, joined := member(v, r.By)
	plan, roster := admin.Plan{Joined: joined}, h.State().Roster()
	switch {
	case !found:
		return plan, refusedAs(v.CheckRemove(r.Node))
	case r.Cancel:
		return h.stay(ctx, r)
	case r.By == "" || r.By == r.Node:
		return plan, fmt.Errorf("%w: name the node that comes in the place of %s", adminhttp.ErrInvalid, r.Node)
	case roster.IsRemoved(r.By):
		return plan, refusal(state.ReasonNodeRemoved, r.By)
	}
	if refused := v.CheckReplace(r.Node, r.By); refused != nil {
		return plan, refusedAs(refused)
	}
	if err := unfinished(v, roster); err != nil {
		return plan, err
	}
	if !joined {
		plan.Steps = append(plan.Steps, r.By+" joins with a token and learns what the hub holds")
	}
	if !by.Voter {
		plan.Steps = append(plan.Steps, r.By+" gets a vote once it has caught up")
	}
	if r.Node == v.Leader {
		plan.Steps = append(plan.Steps, r.Node+" hands leadership over")
	}
	plan.Steps = append(plan.Steps, r.Node+" is removed for good"+answers(dead))
	if r.DryRun || !joined {
		return plan, nil // the token carries the rest
	}
	return plan, h.agree(ctx, &command.Node{Act: command.NodeReplace, Name: r.By, Replaces: r.Node})
}

// stay lets nobody take the place of a node, whoever was to.
func (h *Hub) stay(ctx context.Context, r admin.Replace) (admin.Plan, error) {
	plan := admin.Plan{Joined: true}
	for _, n := range h.State().Roster().Nodes {
		if n.Replaces != r.Node || n.Removed {
			continue
		}
		plan.Steps = append(plan.Steps, n.Name+" no longer takes the place of "+r.Node)
		if r.DryRun {
			continue
		}
		if err := h.agree(ctx, &command.Node{Act: command.NodeReplace, Name: n.Name}); err != nil {
			return plan, err
		}
	}
	if len(plan.Steps) == 0 {
		plan.Steps = []string{"nobody takes the place of " + r.Node}
	}
	return plan, nil
}

// unfinished refuses an order while a removed node is still a member: the next one
// would be decided on a membership that is about to change.
func unfinished(v *replica.View, roster *state.Roster) error {
	for _, m := range v.Members {
		if roster.IsRemoved(m.Node) {
			return change(fmt.Errorf("%w: %s is removed and is a member yet", replica.ErrChanging, m.Node))
		}
	}
	return nil
}

func isOlder(err error) bool {
	var e *adminhttp.Error
	return errors.As(err, &e) && e.Code == codeOlder
}

func answers(m replica.Member) string {
	if m.Alive {
		return " (it answers now)"
	}
	return " (it does not answer)"
}

func member(v *replica.View, node string) (replica.Member, bool) {
	for _, m := range v.Members {
		if m.Node == node {
			return m, true
		}
	}
	return replica.Member{}, false
}

// Transfer hands leadership over to a node, or to the one that is furthest along.
func (h *Hub) Transfer(_ context.Context, t admin.Transfer) (admin.Transferred, error) {
	v, err := h.view()
	if err != nil {
		return admin.Transferred{}, err
	}
	done := admin.Transferred{From: h.self.Name, To: t.Node}
	if t.Node == "" {
		if done.To = best(v); done.To == "" {
			return done, refusedAs(&replica.Refusal{
				Code: replica.RefusedBehind, What: "no other voter answers and is caught up",
				Next: "see who is missing: entente hub members",
			})
		}
	}
	if refused := v.CheckTransfer(done.To); refused != nil {
		return done, refusedAs(refused)
	}
	if done.To == h.self.Name {
		return done, nil
	}
	return done, change(h.replica.TransferTo(done.To))
}

// best is the voter that lacks least.
func best(v *replica.View) (node string) {
	var behind uint64
	for _, m := range v.Members {
		if m.Node != v.Leader && v.CheckTransfer(m.Node) == nil && (node == "" || m.Behind < behind) {
			node, behind = m.Node, m.Behind
		}
	}
	return node
}

// reconcile brings the membership to what the log says of nodes, as leader: it
// lets go who was removed, and who has a successor that votes.
func (h *Hub) reconcile(ctx context.Context) error {
	h.ordering.Lock()
	defer h.ordering.Unlock()
	v, err := h.view()
	if err != nil {
		return err
	}
	roster := h.State().Roster()
	for _, m := range v.Members {
		if roster.IsRemoved(m.Node) {
			return h.expel(m.Node) // the view is old now: the rest waits for the next look
		}
	}
	for old, by := range v.Successors {
		if _, found := member(v, old); !found {
			continue
		}
		if v.CheckReplaced(old, by) != nil {
			continue
		}
		if old == h.self.Name {
			return h.replica.TransferTo(by)
		}
		h.cfg.Log.Info("node has a successor and is removed", "node", old, "successor", by)
		if err := h.agree(ctx, &command.Node{Act: command.NodeRemove, Name: old, Why: "replaced by " + by}); err != nil {
			return err
		}
		return h.expel(old)
	}
	return nil
}

// expel takes a removed node out of the membership. This node itself hands over
// first; its successor finishes.
func (h *Hub) expel(node string) error {
	if node == h.self.Name {
		return change(h.replica.TransferLeadership())
	}
	return change(h.replica.Remove(node))
}

// insist lets an operator override a refusal that can be overridden.
func insist(refused *replica.Refusal, i admin.Insist) error {
	switch {
	case !i.Force:
		return refusedAs(refused)
	case !refused.Forceable:
		return refusedAs(&replica.Refusal{Code: refused.Code, What: refused.What + "; --force does not change that", Next: refused.Next})
	case i.Reason == "":
		return fmt.Errorf("%w: --force needs a --reason, which is kept", adminhttp.ErrInvalid)
	}
	return nil
}

func refusedAs(r *replica.Refusal) error {
	next := r.Next
	if r.Forceable {
		next += "; or insist: --force --reason TEXT"
	}
	return &adminhttp.Error{Status: http.StatusConflict, Code: r.Code, Message: r.What, Next: next}
}

// refusal is what Apply refused.
func refusal(reason state.Reason, node string) error {
	text := wire.Describe(wire.Reason(reason)).Sentence
	if node != "" {
		text = "node " + node + ": " + text
	}
	return &adminhttp.Error{Status: http.StatusConflict, Code: string(reason), Message: text}
}

// change puts what a replica says of a change into the words of the admin API.
func change(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, replica.ErrChanging):
		return &adminhttp.Error{Status: http.StatusServiceUnavailable, Code: "member.changing", Message: err.Error(), Next: "try again in a moment"}
	case errors.Is(err, replica.ErrNotLeader), errors.Is(err, replica.ErrUnknown), errors.Is(err, replica.ErrBusy):
		return &adminhttp.Error{
			Status: http.StatusServiceUnavailable, Code: "leader.lost", Message: err.Error(),
			Next: "look what became of it: entente hub members",
		}
	case errors.Is(err, replica.ErrDisputed):
		return &adminhttp.Error{
			Status: http.StatusServiceUnavailable, Code: string(wire.ReasonHubReadonly), Message: err.Error(),
			Next: "see who is missing, and start it: entente hub members",
		}
	case errors.Is(err, replica.ErrDiskLow):
		return &adminhttp.Error{
			Status: http.StatusServiceUnavailable, Code: string(wire.ReasonHubDiskLow), Message: err.Error(),
			Next: "make room on the volume of the node that leads, and try again",
		}
	}
	return err
}
