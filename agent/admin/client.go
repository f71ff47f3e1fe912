package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/entente-sync/entente/proto/adminhttp"
)

// callMax bounds one call: an agent answers from memory.
const callMax = 30 * time.Second

// Client talks to one agent's admin socket.
type Client struct{ http *adminhttp.Client }

// NewClient returns a client for the socket at path; nothing is dialled yet.
func NewClient(path string) *Client { return &Client{adminhttp.NewClient(path, who)} }

// Status asks for the agent's status.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Holds lists what waits for a person.
func (c *Client) Holds(ctx context.Context) (h []Hold, err error) {
	return h, c.call(ctx, http.MethodGet, "/v1/holds", nil, &h)
}

// Causes groups what waits for a person.
func (c *Client) Causes(ctx context.Context) (out []Cause, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/holds/causes", nil, &out)
}

// HoldsOf lists the holds that p picks.
func (c *Client) HoldsOf(ctx context.Context, p HoldsPicked) (out []Hold, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/holds/pick", p, &out)
}

// HandleHolds says a word on holds.
func (c *Client) HandleHolds(ctx context.Context, v HoldVerb) (out HoldsHandled, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/holds/handle", v, &out)
}

// Release says that a hold is mended.
func (c *Client) Release(ctx context.Context, r Release) error {
	return c.call(ctx, http.MethodPost, "/v1/holds/release", r, nil)
}

// Conflicts lists edits that lost.
func (c *Client) Conflicts(ctx context.Context, asked ConflictsAsked) (out []Conflict, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/conflicts", asked, &out)
}

// Restore puts a lost value back.
func (c *Client) Restore(ctx context.Context, r Restore) (out Restoration, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/restore", r, &out)
}

// Jobs lists the newest job of each system.
func (c *Client) Jobs(ctx context.Context) (out []Job, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/jobs", nil, &out)
}

// StartJob begins a job.
func (c *Client) StartJob(ctx context.Context, j JobStart) (out []Job, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/jobs/start", j, &out)
}

// TellJob speaks to a job.
func (c *Client) TellJob(ctx context.Context, t JobTell) (out []Job, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/jobs/tell", t, &out)
}

// Poll makes the agent list every system now.
func (c *Client) Poll(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/poll", nil, nil)
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callMax)
	defer cancel()
	return c.http.Call(ctx, method, path, in, out)
}
