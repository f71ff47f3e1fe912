package rt

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/httpcore"
)

const (
	correlationDefault = "EntenteKey"
	statusesDefault    = "new,open,stalled,resolved,rejected"
	statusDeleted      = "deleted"
	api                = "REST/2.0"
)

// Spec describes this connector.
func Spec() connectors.Spec {
	return connectors.Spec{
		Name: "rt",
		Capabilities: connectors.Capabilities{
			Revisions:        true,
			Conditional:      true,
			History:          true,
			Correlation:      true,
			Comments:         true,
			InternalComments: true,
			Deletes:          true,
			DeleteEvidence:   true,
			Normalises:       []string{"Description", fieldSubject, "comments"},
		},
		Open: open,
	}
}

// client is one queue of one RT. It caches names, nothing else.
type client struct {
	http        *httpcore.Client
	root        string // for links
	queue       string
	user        string // number of the own account
	correlation string
	statuses    []string
	now         func() time.Time

	loading  chan struct{} // one token: a load is not done twice at a time
	mu       sync.Mutex
	names    *names
	namesAt  time.Time
	people   map[string]person // by account name or number
	peopleAt time.Time
}

var (
	tokenForm = regexp.MustCompile(`^\d+-(\d+)-[0-9a-f]+$`)
	fieldForm = regexp.MustCompile(`^[^{}'"\\\x00-\x1f]+$`) // stands in braces in a query
)

func open(s connectors.Settings) (connectors.Connector, error) {
	c := &client{
		root: strings.TrimRight(s.URL, "/"), queue: s.Scope["queue"], correlation: s.Options["correlation_field"], now: s.Now,
		loading: make(chan struct{}, 1), people: map[string]person{},
	}
	if c.correlation == "" {
		c.correlation = correlationDefault
	}
	statuses := s.Options["statuses"]
	if statuses == "" {
		statuses = statusesDefault
	}
	for status := range strings.SplitSeq(statuses, ",") {
		if status = strings.TrimSpace(status); status != "" && status != statusDeleted {
			c.statuses = append(c.statuses, status)
		}
	}
	if c.now == nil {
		c.now = time.Now
	}
	refuse := func(field, message string) (connectors.Connector, error) {
		return nil, &connectors.Error{Class: connectors.ClassInvalid, System: s.Name, Op: "open", Field: field, Message: message}
	}
	token := tokenForm.FindStringSubmatch(s.Credential.Reveal())
	switch {
	case c.queue == "" || strings.Contains(c.queue, "/"):
		return refuse("scope.queue", "name the queue")
	case !fieldForm.MatchString(c.correlation):
		return refuse("options.correlation_field", "the name has characters that RT's queries can't hold")
	case token == nil:
		return refuse("credential", "this is no auth token of RT 5 (1-27-…)")
	}
	c.user = token[1]
	h, err := httpcore.New(httpcore.Config{
		Settings:  s,
		Authorize: httpcore.Header("Authorization", "token "),
		Classify:  blame,
	})
	if err != nil {
		return nil, err
	}
	c.http = h
	return c, nil
}

// blame names the field that the refusal of a create begins with.
func blame(_ *httpcore.Response, e *connectors.Error) {
	if e.Class == connectors.ClassInvalid && strings.HasPrefix(e.Message, "Status ") {
		e.Field = fieldStatus
	}
}

// Check reads what every call needs, and looks for the correlation field.
func (c *client) Check(ctx context.Context) error {
	c.mu.Lock()
	c.names, c.people = nil, map[string]person{}
	c.mu.Unlock()
	n, err := c.directory(ctx, "check")
	if err != nil {
		return err
	}
	_, err = c.correlationField(n, "check")
	return err
}

// ClockOffset tells how far RT's clock is ahead of ours.
func (c *client) ClockOffset() (time.Duration, bool) { return c.http.ClockOffset() }

// Close drops idle connections.
func (c *client) Close() error { return c.http.Close() }

func (c *client) fail(op string, class connectors.Class, field, message string) error {
	return c.http.Fail(httpcore.Request{Op: op}, class, field, message)
}

func at(segments ...string) string { return api + "/" + httpcore.Path(segments...) }

// isKey reports whether key is a ticket's number.
func isKey(key connectors.Key) bool {
	n, err := strconv.ParseUint(string(key), 10, 31)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == string(key)
}

// quote makes a literal of RT's query language.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
