package admin

import (
	"context"
	"net/http"

	"github.com/entente-sync/entente/proto/adminhttp"
)

// The verbs of this file change who belongs to the hub. Only the leader can; a
// node that does not lead hands them on to it. What is refused as unsafe is an
// error with a code, what to do instead, and whether Force would help.

const (
	pathRemove   = "/v1/members/remove"
	pathReplace  = "/v1/members/replace"
	pathTransfer = "/v1/members/transfer"
	pathToken    = "/v1/members/token"
)

// Insist overrides a refusal that can be overridden. The reason is logged and
// stays in the hub.
type Insist struct {
	Force  bool   `json:"force,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Remove takes a node out of the hub for good.
type Remove struct {
	Node string `json:"node"`
	Insist
}

// Replace makes By the successor of Node, which leaves once By votes. Cancel takes
// that back, whoever By is.
type Replace struct {
	Node   string `json:"node"`
	By     string `json:"by"`
	Cancel bool   `json:"cancel,omitempty"`
	DryRun bool   `json:"dryRun,omitempty"`
}

// Plan says what a Replace does, step by step, and what is done already.
type Plan struct {
	Steps []string `json:"steps"`
	// Joined: By is a member already, or of no matter; otherwise it needs a token.
	Joined bool `json:"joined"`
}

// Transfer hands leadership to a node; an empty Node leaves the choice to the hub.
type Transfer struct {
	Node string `json:"node,omitempty"`
}

// Transferred says who leads now.
type Transferred struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// TokenRequest asks for a join token.
type TokenRequest struct {
	Node          string `json:"node"`
	Replaces      string `json:"replaces,omitempty"`
	Secret        string `json:"secret"`        // SHA-256 of it, hexadecimal
	ID            string `json:"id"`            // hexadecimal
	ExpiresMillis int64  `json:"expiresMillis"` // by the leader's clock
}

// ServeRemove serves Remove.
func ServeRemove(do func(context.Context, Remove) error) adminhttp.Verb {
	return adminhttp.Tell("POST "+pathRemove, do)
}

// ServeReplace serves Replace.
func ServeReplace(do func(context.Context, Replace) (Plan, error)) adminhttp.Verb {
	return adminhttp.Call("POST "+pathReplace, do)
}

// ServeTransfer serves Transfer.
func ServeTransfer(do func(context.Context, Transfer) (Transferred, error)) adminhttp.Verb {
	return adminhttp.Call("POST "+pathTransfer, do)
}

// ServeToken serves TokenRequest.
func ServeToken(do func(context.Context, TokenRequest) error) adminhttp.Verb {
	return adminhttp.Tell("POST "+pathToken, do)
}

// Remove takes a node out of the hub.
func (c *Client) Remove(ctx context.Context, r Remove) error {
	return c.http.Call(ctx, http.MethodPost, pathRemove, r, nil)
}

// Replace makes a node another's successor.
func (c *Client) Replace(ctx context.Context, r Replace) (Plan, error) {
	return post[Plan](ctx, c, pathReplace, r)
}

// Transfer hands leadership over.
func (c *Client) Transfer(ctx context.Context, t Transfer) (Transferred, error) {
	return post[Transferred](ctx, c, pathTransfer, t)
}

// Token makes a join token valid.
func (c *Client) Token(ctx context.Context, t TokenRequest) error {
	return c.http.Call(ctx, http.MethodPost, pathToken, t, nil)
}

func post[Out any](ctx context.Context, c *Client, path string, in any) (out Out, err error) {
	err = c.http.Call(ctx, http.MethodPost, path, in, &out)
	return out, err
}
