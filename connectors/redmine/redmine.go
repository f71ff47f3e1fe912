package redmine

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/httpcore"
)

const correlationDefault = "Entente key"

// Spec describes this connector.
func Spec() connectors.Spec {
	return connectors.Spec{
		Name: "redmine",
		Capabilities: connectors.Capabilities{
			Revisions:        true,
			History:          true,
			Correlation:      true,
			Comments:         true,
			InternalComments: true,
			Normalises:       []string{fieldDescription, "comments"},
		},
		Open: open,
	}
}

// client is one project of one Redmine. It caches names, nothing else.
type client struct {
	http        *httpcore.Client
	root        string // for links
	project     string
	correlation string // name of the custom field
	now         func() time.Time
	names       directory
}

func open(s connectors.Settings) (connectors.Connector, error) {
	c := &client{
		root: strings.TrimRight(s.URL, "/"), project: s.Scope["project"],
		correlation: s.Options["correlation_field"], now: s.Now, names: directory{loading: make(chan struct{}, 1)},
	}
	if c.project == "" {
		return nil, &connectors.Error{
			Class: connectors.ClassInvalid, System: s.Name, Op: "open", Field: "scope.project",
			Message: "name the project's identifier",
		}
	}
	if c.correlation == "" {
		c.correlation = correlationDefault
	}
	if c.now == nil {
		c.now = time.Now
	}
	h, err := httpcore.New(httpcore.Config{
		Settings:  s,
		Authorize: httpcore.Header("X-Redmine-API-Key", ""),
		Classify:  c.blame,
	})
	if err != nil {
		return nil, err
	}
	c.http = h
	return c, nil
}

// Check reads what every call needs, and looks for the correlation field.
func (c *client) Check(ctx context.Context) error {
	c.names.forget()
	n, err := c.directory(ctx, "check")
	if err != nil {
		return err
	}
	_, err = c.correlationField(n, "check")
	return err
}

// ClockOffset is known only if a server in front of Redmine dates its answers.
func (c *client) ClockOffset() (time.Duration, bool) { return c.http.ClockOffset() }

// Close drops idle connections.
func (c *client) Close() error { return c.http.Close() }

func (c *client) fail(op string, class connectors.Class, field, message string) error {
	return c.http.Fail(httpcore.Request{Op: op}, class, field, message)
}

// issuePath returns the path of an issue, or false for what is no issue's key.
func issuePath(key connectors.Key) (string, bool) {
	n, err := strconv.ParseUint(string(key), 10, 31)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != string(key) {
		return "", false
	}
	return httpcore.Path("issues", string(key)+".json"), true
}

// blame names the field that a refusal begins with ("Subject cannot be blank").
func (c *client) blame(r *httpcore.Response, e *connectors.Error) {
	if r.Status != http.StatusUnprocessableEntity {
		return
	}
	longest := 0
	for label, field := range c.names.labels() {
		if strings.HasPrefix(e.Message, label+" ") && len(label) > longest {
			longest, e.Field = len(label), field
		}
	}
}
