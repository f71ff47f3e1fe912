package conformance

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt/value"
)

// T is what a case needs of *testing.T; a certifying command can bring its own.
type T interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// Case is one named demand on a connector.
type Case struct {
	Name string
	Why  string // what goes wrong in a sync if the demand is not met
	// Needs says whether the case applies; nil means always.
	Needs func(connectors.Capabilities, *Env) bool
	Run   func(t T, e *Env)
}

// Env is what a case works with.
type Env struct {
	Driver Driver
	Caps   connectors.Capabilities
	Scope  Scope
	C      connectors.Connector
	serial int
	nonce  int64 // tells runs against one lasting system apart
}

const callTimeout = 60 * time.Second

// Cases lists the suite in running order.
func Cases() []Case {
	return slices.Concat(specCases(), readCases(), writeCases(), historyCases(), commentCases(), textCases(), lifeCases(), transportCases())
}

// Run runs every case that d's capabilities ask for.
func Run(t *testing.T, d Driver) {
	t.Helper()
	if d.Settle == 0 {
		d.Settle = 5 * time.Second
	}
	if d.Spec.Open == nil || d.Open == nil || d.Fields.Text == "" {
		t.Fatal("driver: Spec.Open, Open and Fields.Text are required")
	}
	scope := d.Open(t)
	c, err := d.Spec.Open(scope.Settings)
	if err != nil {
		t.Fatalf("Spec.Open refuses the driver's own settings: %v", err)
	}
	t.Cleanup(func() { closeConnector(c) })
	e := &Env{Driver: d, Caps: d.Spec.Capabilities, Scope: scope, C: c, nonce: time.Now().UnixNano()}
	known := map[string]bool{}
	for _, c := range Cases() {
		known[c.Name] = true
		if c.Needs != nil && !c.Needs(e.Caps, e) {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			if why, ok := d.Except[c.Name]; ok {
				t.Skipf("exception of the driver: %s", why)
			}
			c.Run(t, e)
		})
	}
	for name := range d.Except {
		if !known[name] {
			t.Errorf("driver: exception for %q, which is no case", name)
		}
	}
}

// closeConnector lets go of connections where a connector can.
func closeConnector(c connectors.Connector) {
	if closer, ok := c.(io.Closer); ok {
		_ = closer.Close()
	}
}

// reopen returns a second instance, as after a restart.
func (e *Env) reopen(t T) connectors.Connector {
	t.Helper()
	c, err := e.Driver.Spec.Open(e.Scope.Settings)
	if err != nil {
		t.Fatalf("opening a second instance: %v", err)
	}
	t.Cleanup(func() { closeConnector(c) })
	return c
}

func (e *Env) context(t T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	t.Cleanup(cancel)
	return ctx
}

// unique returns a short text that no other record has.
func (e *Env) unique(what string) value.Value {
	e.serial++
	return value.Text(fmt.Sprintf("conformance %s %d", what, e.serial))
}

// correlation returns a key that no record carries yet: 32 hex digits, as agents
// make them.
func (e *Env) correlation() string {
	e.serial++
	sum := sha256.Sum256(fmt.Append(nil, e.nonce, e.serial))
	return hex.EncodeToString(sum[:16])
}

// draft is the least that a create needs, with a text of its own.
func (e *Env) draft(what string) map[string]value.Value {
	fields := maps.Clone(e.Driver.Fields.OnCreate)
	if fields == nil {
		fields = map[string]value.Value{}
	}
	fields[e.Driver.Fields.Text] = e.unique(what)
	return fields
}

// create writes a record, with extra fields, and returns its key.
func (e *Env) create(t T, what, correlation string, extra map[string]value.Value) connectors.Key {
	t.Helper()
	fields := e.draft(what)
	maps.Copy(fields, extra)
	receipt, err := e.C.Write(e.context(t), connectors.Write{Kind: connectors.WriteCreate, Correlation: correlation, Fields: fields})
	if err != nil {
		t.Fatalf("create failed: %v", err)
	}
	if receipt.Key == "" {
		t.Fatal("Receipt.Key is empty after a create: the agent cannot link what it made")
	}
	return receipt.Key
}

func (e *Env) update(t T, key connectors.Key, fields map[string]value.Value) connectors.Receipt {
	t.Helper()
	receipt, err := e.C.Write(e.context(t), connectors.Write{Kind: connectors.WriteUpdate, Key: key, Fields: fields})
	if err != nil {
		t.Fatalf("update failed: %v", err)
	}
	return receipt
}

func (e *Env) read(t T, key connectors.Key) connectors.Record {
	t.Helper()
	rec, err := e.C.Read(e.context(t), key)
	if err != nil {
		t.Fatalf("read %s failed: %v", key, err)
	}
	if rec.Key != key {
		t.Fatalf("Read(%s) returned the record %s", key, rec.Key)
	}
	return rec
}

// seen collects what Changes lists from a cursor on.
type seen map[connectors.Key]connectors.Ref

const pagesMax = 1000

// drain reads on from cursor until there is no more.
func drain(t T, e *Env, c connectors.Connector, cursor connectors.Cursor, limit int) (seen, connectors.Cursor) {
	t.Helper()
	found := seen{}
	for range pagesMax {
		page, err := c.Changes(e.context(t), cursor, limit)
		if err != nil {
			t.Fatalf("Changes failed: %v", err)
		}
		if len(page.Next) == 0 {
			t.Fatal("Page.Next is empty: the agent could only start again from the beginning")
		}
		if page.More && string(page.Next) == string(cursor) {
			t.Fatal("Page.More is true but Page.Next did not move: the agent would turn in a circle")
		}
		for _, ref := range page.Refs {
			found[ref.Key] = ref
		}
		cursor = page.Next
		if !page.More {
			return found, cursor
		}
	}
	t.Fatalf("no end of Changes after %d pages", pagesMax)
	return nil, nil
}

// await reads on from cursor until Changes lists all keys, for as long as the
// declared staleness allows.
func await(t T, e *Env, cursor connectors.Cursor, keys ...connectors.Key) connectors.Cursor {
	t.Helper()
	missing := map[connectors.Key]bool{}
	for _, k := range keys {
		missing[k] = true
	}
	deadline := time.Now().Add(e.Caps.StaleMax + e.Driver.Settle)
	for {
		var found seen
		found, cursor = drain(t, e, e.C, cursor, 0)
		for k := range found {
			delete(missing, k)
		}
		if len(missing) == 0 {
			return cursor
		}
		if time.Now().After(deadline) {
			t.Fatalf("Changes never listed %v although they changed after its cursor was handed out (StaleMax %s)",
				slices.Sorted(maps.Keys(missing)), e.Caps.StaleMax)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// now returns a cursor after everything that is listed now.
func now(t T, e *Env) connectors.Cursor {
	t.Helper()
	_, cursor := drain(t, e, e.C, nil, 0)
	return cursor
}

// wantClass fails unless err has the class, and is fit to be shown.
func wantClass(t T, e *Env, err error, class connectors.Class, what string) {
	t.Helper()
	_ = refusal(t, e, err, class, what)
}

// refusal is wantClass for who looks at the error further.
func refusal(t T, e *Env, err error, class connectors.Class, what string) *connectors.Error {
	t.Helper()
	if err == nil {
		t.Fatalf("%s: no error, want class %s", what, class)
	}
	if got := connectors.ClassOf(err); got != class {
		t.Fatalf("%s: class %q, want %q: %v", what, got, class, err)
	}
	return asError(t, e, err)
}
