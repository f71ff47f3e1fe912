package httpcore

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/entente-sync/entente/connectors"
)

// Class says what a status means for a read or a write. It returns "" for
// success, which includes 304. A write that a server answers with 5xx, or with a
// redirect that commonly follows a form, may have happened.
func Class(status int, read bool) connectors.Class {
	doubt := connectors.ClassUnknown
	if read {
		doubt = connectors.ClassUnavailable
	}
	switch status {
	case http.StatusNotModified:
		return ""
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect, http.StatusNotImplemented:
		return connectors.ClassInvalid
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusPaymentRequired, http.StatusProxyAuthRequired:
		return connectors.ClassDenied
	case http.StatusNotFound, http.StatusGone:
		return connectors.ClassNotFound
	case http.StatusConflict, http.StatusPreconditionFailed:
		return connectors.ClassConflict
	case http.StatusTooManyRequests:
		return connectors.ClassThrottled
	case http.StatusLocked, http.StatusTooEarly, http.StatusMisdirectedRequest:
		return connectors.ClassUnavailable
	case http.StatusRequestTimeout:
		return doubt
	}
	switch {
	case status >= 200 && status < 300:
		return ""
	case status >= 400 && status < 500:
		return connectors.ClassInvalid
	case status >= 300 && status < 400 && read:
		return connectors.ClassInvalid
	}
	return doubt
}

// refusal turns a status into an error, nil for success.
func (c *Client) refusal(r Request, resp *Response) *connectors.Error {
	class := Class(resp.Status, r.isRead())
	if class == "" {
		return nil
	}
	e := c.newError(r, class)
	e.Status, e.Message = resp.Status, words(resp)
	if resp.Status >= 300 && resp.Status < 400 {
		e.Message = "redirected to another address, which is not followed: configure the final address"
	}
	e.RetryAfter = retryAfter(resp.Header, c.cfg.Settings.Now())
	if c.cfg.Classify != nil {
		c.cfg.Classify(resp, e)
	}
	if e.Class == connectors.ClassThrottled {
		e.RetryAfter = c.budget.throttled(e.RetryAfter)
	} else if e.RetryAfter > 0 {
		c.budget.pause(e.RetryAfter)
	}
	e.Message = c.redact(r, e.Message)
	return e
}

// transportError classifies a call that got no answer.
func (c *Client) transportError(r Request, err error, sent bool) *connectors.Error {
	class := connectors.ClassUnknown
	if r.isRead() || neverSent(err) || c.own && !sent {
		class = connectors.ClassUnavailable
	}
	if errors.Is(err, ErrBlocked) {
		class = connectors.ClassDenied
	}
	e := c.newError(r, class)
	e.Err = c.cause(r, err)
	return e
}

// bodyError classifies a success whose body did not arrive whole.
func (c *Client) bodyError(r Request, resp *Response, err error) *connectors.Error {
	class := connectors.ClassUnknown
	switch {
	case r.isRead() && errors.Is(err, errTooBig):
		class = connectors.ClassMalformed
	case r.isRead():
		class = connectors.ClassUnavailable
	}
	e := c.newError(r, class)
	e.Status, e.Err = resp.Status, c.cause(r, err)
	return e
}

func (c *Client) malformed(r Request, resp *Response, err error) *connectors.Error {
	e := c.newError(r, connectors.ClassMalformed)
	if !r.isRead() {
		e.Class = connectors.ClassUnknown
	}
	e.Status, e.Err = resp.Status, err
	return e
}

// Fail makes the error of a refusal that only the connector can read (a 200
// with an error inside). message is clipped and redacted.
func (c *Client) Fail(r Request, class connectors.Class, field, message string) *connectors.Error {
	e := c.newError(r, class)
	e.Field, e.Message = field, c.redact(r, message)
	return e
}

func (c *Client) newError(r Request, class connectors.Class) *connectors.Error {
	return &connectors.Error{Class: class, System: c.cfg.Settings.Name, Op: r.Op}
}

// neverSent reports errors that arise before a connection exists.
func neverSent(err error) bool {
	var dns *net.DNSError
	var op *net.OpError
	return errors.As(err, &dns) || errors.As(err, &op) && op.Op == "dial"
}

// cause keeps err for errors.Is without the address, whose query may hold values.
func (c *Client) cause(r Request, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return &redacted{text: c.redact(r, err.Error()), err: err}
}

type redacted struct {
	text string
	err  error
}

func (e *redacted) Error() string { return e.text }
func (e *redacted) Unwrap() error { return e.err }

// retryAfter reads seconds or a date; 0 if there is none, or it is past or
// nonsense.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if !(seconds > 0) {
			return 0
		}
		return time.Duration(min(seconds, retryAfterMax.Seconds()) * float64(time.Second))
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	// A date is in the server's clock: measure it against the server's own Date.
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return min(max(0, at.Sub(now)), retryAfterMax)
}

const retryAfterMax = 24 * time.Hour
