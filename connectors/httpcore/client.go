// Package httpcore is the one HTTP client of all connectors: it authenticates,
// keeps to a rate, obeys Retry-After, repeats only what is safe to repeat, bounds
// what it reads, and turns every outcome into a *connectors.Error whose class
// says whether the call happened.
package httpcore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/entente-sync/entente/connectors"
)

// Defaults of a Config.
const (
	RateDefault     = 10.0             // calls a second
	TimeoutDefault  = 30 * time.Second // of one attempt
	BodyBytesMax    = 16 << 20         // of one answer, decompressed
	attemptsMax     = 3                // of one Do
	redirectsMax    = 3
	waitMaxDefault  = 10 * time.Second // for the budget or a Retry-After, inside one Do
	backoffMin      = 200 * time.Millisecond
	backoffMax      = 5 * time.Second
	idleConnTimeout = 30 * time.Second
)

// Config makes a Client. Only Settings is required.
type Config struct {
	Settings connectors.Settings
	// Authorize puts the credential on a request; see Bearer, Basic, Header.
	Authorize func(*http.Request, connectors.Secret)
	// Header goes with every request.
	Header http.Header
	// RatePerSecond is the connector's default where Settings give none; 0
	// means RateDefault.
	RatePerSecond float64
	// Classify may correct what the status alone said of a refusal: class,
	// field, message, RetryAfter. Message is redacted and clipped afterwards.
	Classify func(*Response, *connectors.Error)
	// BodyBytesMax bounds an answer; 0 means the constant.
	BodyBytesMax int64
	// WaitMax bounds how long one Do waits for its turn before it gives
	// ClassThrottled; 0 means 10 s.
	WaitMax time.Duration
	// Sleep waits; nil means a timer. Random gives [0,1) for jitter; nil means
	// math/rand.
	Sleep  func(context.Context, time.Duration) error
	Random func() float64
}

// Client is one credential at one system: one base URL, one budget, one clock
// calibration. It is safe for concurrent use.
type Client struct {
	cfg     Config
	base    *url.URL
	http    *http.Client
	own     bool // the transport is ours, so its traces can be trusted
	budget  *budget
	clock   clock
	metrics *metrics
}

// New checks the settings; it does not dial.
func New(cfg Config) (*Client, error) {
	s := cfg.Settings
	base, err := url.Parse(s.URL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Hostname() == "" ||
		base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, &connectors.Error{
			Class: connectors.ClassInvalid, System: s.Name, Op: "open", Field: "url",
			Message: "the address must be http(s)://host[:port][/path], without user, query or fragment",
		}
	}
	base.Path, base.RawPath = strings.TrimRight(base.Path, "/"), ""
	setDefaults(&cfg)
	c := &Client{cfg: cfg, base: base, own: s.Transport == nil, metrics: newMetrics(s.Metrics)}
	transport := s.Transport
	if transport == nil {
		transport = newTransport(newGuard(base.Hostname(), s.AllowPrivate))
	}
	c.http = &http.Client{Transport: transport, CheckRedirect: c.checkRedirect}
	c.budget = newBudget(cfg)
	return c, nil
}

func setDefaults(cfg *Config) {
	s := &cfg.Settings
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.Timeout <= 0 {
		s.Timeout = TimeoutDefault
	}
	if s.RatePerSecond <= 0 {
		s.RatePerSecond = cfg.RatePerSecond
	}
	if s.RatePerSecond <= 0 {
		s.RatePerSecond = RateDefault
	}
	if cfg.BodyBytesMax <= 0 {
		cfg.BodyBytesMax = BodyBytesMax
	}
	if cfg.WaitMax <= 0 {
		cfg.WaitMax = waitMaxDefault
	}
	if cfg.Sleep == nil {
		cfg.Sleep = sleep
	}
	if cfg.Random == nil {
		cfg.Random = rand.Float64
	}
}

// Do sends r and returns the answer of a status below 300, or 304. Every error
// is a *connectors.Error. Only safe and repeatable requests are sent again.
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) {
	out, err := c.prepare(r)
	if err != nil {
		return nil, c.Fail(r, connectors.ClassInvalid, "", err.Error())
	}
	maybe := false // an earlier attempt may have happened
	for attempt := 0; ; attempt++ {
		if e := c.turn(ctx, r, maybe); e != nil {
			return nil, e
		}
		resp, e := c.once(ctx, r, out)
		if e == nil {
			return resp, nil
		}
		maybe = maybe || e.Class == connectors.ClassUnknown
		last := attempt+1 >= attemptsMax || ctx.Err() != nil || !r.mayRepeat() || !transient(e.Class)
		if !last && e.Class != connectors.ClassThrottled { // the budget waits for that one
			last = c.cfg.Sleep(ctx, backoff(attempt, c.cfg.Random())) != nil
		}
		if last {
			if maybe {
				e.Class = connectors.ClassUnknown
			}
			return nil, e
		}
	}
}

// JSON is Do, and decodes the answer into out as Response.Decode does. What
// cannot be understood is ClassMalformed, or ClassUnknown after a write.
func (c *Client) JSON(ctx context.Context, r Request, out any) (*Response, error) {
	resp, err := c.Do(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := resp.Decode(out); err != nil {
		return nil, c.malformed(r, resp, err)
	}
	return resp, nil
}

// ClockOffset tells how far the system's clock is ahead of ours, from its Date
// headers. ok is false before the first answer.
func (c *Client) ClockOffset() (offset time.Duration, ok bool) { return c.clock.offset() }

// Close drops idle connections. The client stays usable.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// turn waits until the budget lets one call through. maybe says that an earlier
// attempt of the same write may have happened.
func (c *Client) turn(ctx context.Context, r Request, maybe bool) *connectors.Error {
	waited, retryAfter, err := c.budget.wait(ctx)
	c.metrics.waited(c.cfg.Settings.Name, waited)
	var e *connectors.Error
	switch {
	case err != nil:
		e = c.newError(r, connectors.ClassUnavailable)
		e.Err = err
	case retryAfter > 0:
		e = c.newError(r, connectors.ClassThrottled)
		e.RetryAfter, e.Message = retryAfter, "waiting for the rate limit"
	default:
		return nil
	}
	if maybe {
		e.Class = connectors.ClassUnknown
	}
	return e
}

// once is one attempt, counted in the metrics.
func (c *Client) once(ctx context.Context, r Request, out outgoing) (*Response, *connectors.Error) {
	start := c.cfg.Settings.Now()
	resp, e := c.send(ctx, r, out)
	c.metrics.done(c.cfg.Settings.Name, r, e, c.cfg.Settings.Now().Sub(start))
	if offset, ok := c.clock.offset(); ok {
		c.metrics.offset(c.cfg.Settings.Name, offset)
	}
	return resp, e
}

func (c *Client) send(ctx context.Context, r Request, out outgoing) (*Response, *connectors.Error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Settings.Timeout)
	defer cancel()
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	})
	req, err := out.request(ctx)
	if err != nil {
		return nil, c.newError(r, connectors.ClassInvalid)
	}
	for name, values := range c.cfg.Header {
		req.Header[name] = values
	}
	for name, values := range r.Header {
		req.Header[name] = values
	}
	if c.cfg.Authorize != nil {
		c.cfg.Authorize(req, c.cfg.Settings.Credential)
	}
	before := c.cfg.Settings.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.transportError(r, err, sent.Load())
	}
	defer resp.Body.Close()
	c.clock.observe(resp.Header, before, c.cfg.Settings.Now())
	body, err := c.read(resp.Body)
	answer := &Response{Status: resp.StatusCode, Header: resp.Header, Body: body}
	if e := c.refusal(r, answer); e != nil {
		return nil, e // the status speaks, even over half a body
	}
	if err != nil {
		return nil, c.bodyError(r, answer, err)
	}
	if r.RetryAfterOnOK {
		c.budget.pause(retryAfter(resp.Header, c.cfg.Settings.Now()))
	}
	return answer, nil
}

var errTooBig = errors.New("answer too big")

func (c *Client) read(body io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(body, c.cfg.BodyBytesMax+1))
	if err != nil {
		return b, err
	}
	if int64(len(b)) > c.cfg.BodyBytesMax {
		return nil, fmt.Errorf("%w: limit %d bytes", errTooBig, c.cfg.BodyBytesMax)
	}
	return b, nil
}

// checkRedirect follows few redirects, of reads only, to the same origin only.
func (c *Client) checkRedirect(next *http.Request, via []*http.Request) error {
	if m := via[0].Method; len(via) > redirectsMax || m != http.MethodGet && m != http.MethodHead || !c.sameOrigin(next.URL) {
		return http.ErrUseLastResponse
	}
	c.budget.take()
	return nil
}

func (c *Client) sameOrigin(u *url.URL) bool {
	return u.Scheme == c.base.Scheme && strings.EqualFold(u.Host, c.base.Host)
}

// transient reports classes that a second attempt may cure.
func transient(class connectors.Class) bool {
	return class == connectors.ClassUnavailable || class == connectors.ClassThrottled || class == connectors.ClassUnknown
}

// backoff is full jitter: anything up to a doubling bound.
func backoff(attempt int, random float64) time.Duration {
	return time.Duration(random * float64(min(backoffMax, backoffMin<<attempt)))
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
