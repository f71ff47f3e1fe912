package adminhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
)

// ErrNobody is wrapped by errors of a socket at which no process answers.
var ErrNobody = errors.New("nobody answers")

// Client talks to one process.
type Client struct {
	path string
	who  string
	http *http.Client
}

// NewClient returns a client for the socket at path; nothing is dialled yet. who
// names the process in errors.
func NewClient(path, who string) *Client {
	return NewClientOver(path, who, func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	})
}

// NewClientOver returns a client that dials as it is told; where names the place
// in errors.
func NewClientOver(where, who string, dial func(context.Context) (net.Conn, error)) *Client {
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives: true,
	}
	return &Client{path: where, who: who, http: &http.Client{Transport: transport}}
}

// Call asks with in (nil: no body) and reads the answer into out (nil: none is
// expected). An error that the process answered with is an *Error. It waits as
// long as the process lets it, or until ctx ends.
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return fmt.Errorf("admin: %w", err)
		}
	}
	answer, err := c.Stream(ctx, method, path, &body)
	if err != nil {
		return err
	}
	defer answer.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(answer).Decode(out); err != nil {
		return fmt.Errorf("admin: malformed answer: %w", err)
	}
	return nil
}

// Stream asks with a body of any length and returns the answer's, which the
// caller closes.
func (c *Client) Stream(ctx context.Context, method, path string, body io.Reader) (io.ReadCloser, error) {
	// The host names nobody: the transport dials the socket.
	req, err := http.NewRequestWithContext(ctx, method, "http://process"+path, body)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	resp, err := c.http.Do(req)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("admin: no %s answers at %s: is it running? %w: %w", c.who, c.path, ErrNobody, err)
	}
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	if resp.StatusCode < http.StatusBadRequest {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	e := &Error{Status: resp.StatusCode}
	if err := json.NewDecoder(io.LimitReader(resp.Body, bodyBytesMax)).Decode(e); err != nil || e.Code == "" {
		return nil, fmt.Errorf("admin: HTTP %d", resp.StatusCode)
	}
	return nil, fmt.Errorf("admin: %w", e)
}
