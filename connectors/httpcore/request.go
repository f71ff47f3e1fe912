package httpcore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Request is one call, relative to the system's root.
type Request struct {
	Op     string // for errors: "read ticket 12"; no field values
	Method string // "" means GET
	// Path below the root, escaped (see Path), or an absolute address of the same
	// origin, as systems hand out for their next page.
	Path   string
	Query  url.Values
	Header http.Header
	// Body is sent as it is if it is []byte, else as JSON; nil sends none.
	Body any
	// ContentType of the body; "" means application/json.
	ContentType string
	// Safe says that the request changes nothing although its method could: a
	// search by POST. GET and HEAD are safe anyway.
	Safe bool
	// Repeatable says that sending this write twice is the same as once.
	Repeatable bool
	// RetryAfterOnOK obeys a Retry-After also on success, as some systems send to
	// slow a caller down.
	RetryAfterOnOK bool
}

// Path joins segments below the root, each escaped.
func Path(segments ...string) string {
	escaped := make([]string, len(segments))
	for i, s := range segments {
		escaped[i] = url.PathEscape(s)
	}
	return strings.Join(escaped, "/")
}

func (r Request) method() string {
	if r.Method == "" {
		return http.MethodGet
	}
	return r.Method
}

func (r Request) isRead() bool {
	return r.Safe || r.method() == http.MethodGet || r.method() == http.MethodHead
}

func (r Request) mayRepeat() bool { return r.isRead() || r.Repeatable }

// outgoing is a request that can be sent any number of times.
type outgoing struct {
	method, url, contentType string
	body                     []byte
}

func (c *Client) prepare(r Request) (outgoing, error) {
	out := outgoing{method: r.method(), contentType: r.ContentType}
	u, err := c.resolve(r)
	if err != nil {
		return out, err
	}
	out.url = u.String()
	if r.Body == nil {
		return out, nil
	}
	if out.contentType == "" {
		out.contentType = "application/json"
	}
	if raw, ok := r.Body.([]byte); ok {
		out.body = raw
		return out, nil
	}
	if out.body, err = json.Marshal(r.Body); err != nil {
		return out, errors.New("the request cannot be encoded")
	}
	return out, nil
}

func (c *Client) resolve(r Request) (*url.URL, error) {
	text := r.Path
	if !strings.HasPrefix(text, "http://") && !strings.HasPrefix(text, "https://") {
		text = c.base.String() + "/" + strings.TrimLeft(text, "/")
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("the path is malformed")
	}
	if !c.sameOrigin(u) || u.User != nil {
		return nil, errors.New("the address is on another host")
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return nil, fmt.Errorf("the path has the segment %q", segment)
		}
	}
	if len(r.Query) > 0 {
		q := u.Query()
		for name, values := range r.Query {
			q[name] = values
		}
		u.RawQuery = q.Encode()
	}
	return u, nil
}

func (o outgoing) request(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, o.method, o.url, bytes.NewReader(o.body))
	if err != nil {
		return nil, err
	}
	if len(o.body) == 0 {
		req.Body, req.GetBody, req.ContentLength = http.NoBody, nil, 0
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "entente")
	if o.contentType != "" {
		req.Header.Set("Content-Type", o.contentType)
	}
	return req, nil
}

// Response is one answer, read whole.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}
