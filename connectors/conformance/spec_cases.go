package conformance

import (
	"context"
	"errors"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt/value"
)

func specCases() []Case {
	return []Case{
		{
			Name: "spec-valid", Run: specValid,
			Why: "name and abilities are the base of planning",
		},
		{
			Name: "check", Run: check, Needs: is[connectors.Checker],
			Why: "an agent that starts with a bad credential must say so before it syncs",
		},
		{
			Name: "discover-stable", Run: discoverStable, Needs: is[connectors.Discoverer],
			Why: "bindings are checked against the schema; names that move break them",
		},
		{
			Name: "cancellation", Run: cancellation,
			Why: "a stopping agent waits for its calls",
		},
		{
			Name: "no-goroutine-leak", Run: goroutineLeak,
			Why: "an agent runs for months",
		},
	}
}

// is reports whether the connector has an optional ability.
func is[A any](_ connectors.Capabilities, e *Env) bool {
	_, ok := e.C.(A)
	return ok
}

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9]{1,30}$`)

func specValid(t T, e *Env) {
	if !namePattern.MatchString(e.Driver.Spec.Name) {
		t.Errorf("Spec.Name %q is not lower-case letters and digits", e.Driver.Spec.Name)
	}
	caps := e.Caps
	demands := []struct {
		bad  bool
		text string
	}{
		{caps.Conditional && !caps.Revisions, "Conditional needs Revisions"},
		{caps.WriteRevision && !caps.Revisions, "WriteRevision needs Revisions"},
		{caps.InternalComments && !caps.Comments, "InternalComments needs Comments"},
		{caps.HistoryFields != nil && !caps.History, "HistoryFields needs History"},
		{caps.StaleMax < 0, "StaleMax must not be negative"},
	}
	for _, d := range demands {
		if d.bad {
			t.Errorf("Capabilities: %s", d.text)
		}
	}
	if _, finds := e.C.(connectors.Finder); caps.Correlation && !finds {
		t.Error("Capabilities.Correlation is declared, but the connector is no connectors.Finder")
	}
	s := e.Scope.Settings
	s.URL = "no address"
	if _, err := e.Driver.Spec.Open(s); err == nil && e.Scope.Settings.URL != "" {
		t.Error("Spec.Open takes \"no address\" for a URL: a mistake would show only at the first call")
	}
}

func check(t T, e *Env) {
	if err := e.C.(connectors.Checker).Check(e.context(t)); err != nil {
		t.Fatalf("Check fails with a good credential: %v", err)
	}
	if e.Scope.BadCredential == nil {
		return
	}
	bad, err := e.Driver.Spec.Open(*e.Scope.BadCredential)
	if err != nil {
		t.Fatalf("Spec.Open must not dial, but it refuses a bad credential: %v", err)
	}
	defer closeConnector(bad)
	wantClass(t, e, bad.(connectors.Checker).Check(e.context(t)), connectors.ClassDenied, "Check with a bad credential")
	_, err = bad.Changes(e.context(t), nil, 1)
	wantClass(t, e, err, connectors.ClassDenied, "Changes with a bad credential")
	_, err = bad.Write(e.context(t), connectors.Write{Kind: connectors.WriteCreate, Fields: e.draft("denied")})
	wantClass(t, e, err, connectors.ClassDenied, "create with a bad credential")
}

func discoverStable(t T, e *Env) {
	first, err := e.C.(connectors.Discoverer).Discover(e.context(t))
	if err != nil {
		t.Fatalf("Discover failed: %v", err)
	}
	again, err := e.reopen(t).(connectors.Discoverer).Discover(e.context(t))
	if err != nil {
		t.Fatalf("Discover of a second instance failed: %v", err)
	}
	if !reflect.DeepEqual(first, again) {
		t.Error("two instances discover different schemas of the same system: order and names must be stable")
	}
	names := make([]string, len(first.Fields))
	for i, f := range first.Fields {
		names[i] = f.Name
	}
	if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("Schema.Fields must be sorted by name without duplicates: %q", names)
	}
	f := e.Driver.Fields
	for _, want := range []string{f.Text, f.Long, f.Enum} {
		if want != "" && !slices.Contains(names, want) {
			t.Errorf("Schema does not have the field %q", want)
		}
	}
	for _, field := range first.Fields {
		if field.Name == f.Enum {
			for _, v := range f.EnumValues {
				if !slices.Contains(field.Values, v) {
					t.Errorf("Schema: enum %q does not list its value %q", f.Enum, v)
				}
			}
		}
	}
}

func cancellation(t T, e *Env) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	start := time.Now()
	_, err := e.C.Changes(ctx, nil, 1)
	calls := map[string]error{"Changes": err}
	_, calls["Read"] = e.C.Read(ctx, "1")
	_, calls["Write"] = e.C.Write(ctx, connectors.Write{Kind: connectors.WriteCreate, Fields: e.draft("cancelled")})
	for name, err := range calls {
		if err == nil {
			t.Errorf("%s works with a cancelled context", name)
			continue
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the error must wrap context.Canceled, so that a stop is not reported as an outage: %v", name, err)
		}
		if class := asError(t, e, err).Class; class != connectors.ClassUnavailable {
			t.Errorf("%s: nothing was sent, so the class is %q, want %q", name, class, connectors.ClassUnavailable)
		}
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("three cancelled calls took %s: calls must stop promptly", took)
	}
}

func goroutineLeak(t T, e *Env) {
	const instances, tolerated = 6, 3 // others come and go meanwhile
	use := func() {
		for range instances {
			c, err := e.Driver.Spec.Open(e.Scope.Settings)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Changes(e.context(t), nil, 1); err != nil {
				t.Fatal(err)
			}
			closeConnector(c)
		}
	}
	before := runtime.NumGoroutine()
	use()
	after := runtime.NumGoroutine()
	for deadline := time.Now().Add(2 * time.Second); after > before+tolerated && time.Now().Before(deadline); after = runtime.NumGoroutine() {
		time.Sleep(10 * time.Millisecond)
	}
	if after > before+tolerated {
		t.Errorf("%d instances left %d goroutines: stop what Open or a call started, and implement io.Closer to drop idle connections",
			instances, after-before)
	}
}

// asError demands that err is a *connectors.Error fit to be shown: it names the
// operation, and holds no credential and none of the suite's field values.
func asError(t T, e *Env, err error) *connectors.Error {
	t.Helper()
	var typed *connectors.Error
	if !errors.As(err, &typed) {
		t.Fatalf("every error must wrap *connectors.Error, this is %T: %v", err, err)
	}
	if typed.Op == "" {
		t.Errorf("Error.Op is empty: %v", err)
	}
	if secret := e.Scope.Settings.Credential.Reveal(); secret != "" && strings.Contains(err.Error(), secret) {
		t.Error("an error contains the credential")
	}
	if strings.Contains(err.Error(), canary) {
		t.Error("an error contains a field value")
	}
	return typed
}

// canary is a value that no error may repeat.
const canary = "kanarienvogel-4711"

func canaryText() value.Value { return value.Text(canary) }
