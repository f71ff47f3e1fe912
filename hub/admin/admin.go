// Package admin is what a hub node can be asked over its admin socket, for the
// command line: the verbs of package adminhttp that a node has. Each verb stands
// in a file of its own with its messages, the function that serves it and the
// client's method; the hub lists those that it serves.
package admin

import (
	"context"
	"net/http"

	"github.com/entente-sync/entente/proto/adminhttp"
)

// Who names the process in errors about its socket.
const Who = "hub node"

// Client talks to one node's admin socket. Calls last as long as the node lets
// them, or until their context ends.
type Client struct{ http *adminhttp.Client }

// NewClient returns a client for the socket at path; nothing is dialled yet.
func NewClient(path string) *Client { return &Client{adminhttp.NewClient(path, Who)} }

// get asks for a value.
func get[Out any](ctx context.Context, c *Client, path string) (out Out, err error) {
	err = c.http.Call(ctx, http.MethodGet, path, nil, &out)
	return out, err
}
