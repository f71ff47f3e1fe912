package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// Client talks to one agent's admin socket.
type Client struct {
	path string
	http *http.Client
}

// NewClient returns a client for the socket at path; nothing is dialled yet.
func NewClient(path string) *Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true,
	}
	return &Client{path, &http.Client{Transport: transport, Timeout: 30 * time.Second}}
}

// Status asks for the agent's status.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Holds lists what waits for a person.
func (c *Client) Holds(ctx context.Context) (h []Hold, err error) {
	return h, c.call(ctx, http.MethodGet, "/v1/holds", nil, &h)
}

// Release says that a hold is mended.
func (c *Client) Release(ctx context.Context, r Release) error {
	return c.call(ctx, http.MethodPost, "/v1/holds/release", r, nil)
}

// Poll makes the agent list every system now.
func (c *Client) Poll(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/poll", nil, nil)
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return fmt.Errorf("admin: %w", err)
		}
	}
	// The host names nobody: the transport dials the socket.
	req, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, &body)
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	resp, err := c.http.Do(req)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("admin: no agent answers at %s: is it running? %w", c.path, err)
	}
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		var p Problem
		if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
			return fmt.Errorf("admin: HTTP %d", resp.StatusCode)
		}
		return fmt.Errorf("admin: %s: %s", p.Code, p.Message)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("admin: malformed answer: %w", err)
	}
	return nil
}
