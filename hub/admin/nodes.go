package admin

import (
	"context"
	"net"
	"net/http"

	"github.com/entente-sync/entente/proto/adminhttp"
)

// The verbs of this file are spoken between nodes, over the node port.

const (
	pathTell  = "/v1/nodes/tell"
	pathSpend = "/v1/nodes/spend"
	pathEnrol = "/v1/enrol"
)

// Tell is what a node says of itself.
type Tell struct {
	Node          string `json:"node"`
	Nodes         string `json:"nodes"`  // host:port for other nodes
	Agents        string `json:"agents"` // host:port for agents
	Software      string `json:"software"`
	Speaks        uint8  `json:"speaks"` // newest kind of log command that it knows
	ExpiresMillis int64  `json:"expiresMillis"`
}

// Spend uses a token up for a key.
type Spend struct {
	ID  string `json:"id"`
	Key string `json:"key"` // SHA-256 of the public key, hexadecimal
}

// Enrol asks for a node's certificate, with a token.
type Enrol struct {
	ID      string `json:"id"`
	Secret  string `json:"secret"`
	Node    string `json:"node"`
	Nodes   string `json:"nodes"`
	Agents  string `json:"agents"`
	Request string `json:"request"` // PEM of a certificate request, which proves the key
}

// Enrolled is what a node joins with.
type Enrolled struct {
	Certificate string   `json:"certificate"` // PEM
	Nodes       []string `json:"nodes"`       // where members are reached by nodes
}

// ServeTell serves Tell.
func ServeTell(do func(context.Context, Tell) error) adminhttp.Verb {
	return adminhttp.Tell("POST "+pathTell, do)
}

// ServeSpend serves Spend.
func ServeSpend(do func(context.Context, Spend) error) adminhttp.Verb {
	return adminhttp.Tell("POST "+pathSpend, do)
}

// ServeEnrol serves Enrol.
func ServeEnrol(do func(context.Context, Enrol) (Enrolled, error)) adminhttp.Verb {
	return adminhttp.Call("POST "+pathEnrol, do)
}

// NewNodeClient speaks to a node over connections that dial makes.
func NewNodeClient(where string, dial func(context.Context) (net.Conn, error)) *Client {
	return &Client{adminhttp.NewClientOver(where, Who, dial)}
}

// Tell tells a node of this one.
func (c *Client) Tell(ctx context.Context, t Tell) error {
	return c.http.Call(ctx, http.MethodPost, pathTell, t, nil)
}

// Spend uses a token up.
func (c *Client) Spend(ctx context.Context, s Spend) error {
	return c.http.Call(ctx, http.MethodPost, pathSpend, s, nil)
}

// Enrol asks for a certificate.
func (c *Client) Enrol(ctx context.Context, e Enrol) (Enrolled, error) {
	return post[Enrolled](ctx, c, pathEnrol, e)
}

// Forward hands a request on as it is.
func (c *Client) Forward(w http.ResponseWriter, r *http.Request) error {
	answer, err := c.http.Stream(r.Context(), r.Method, r.URL.Path, http.MaxBytesReader(w, r.Body, forwardBytesMax))
	if err != nil {
		return err
	}
	defer answer.Close()
	return adminhttp.Copy(w, answer)
}

const forwardBytesMax = 64 << 10
