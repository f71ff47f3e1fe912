package apply_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/entente-sync/entente/agent/apply"
	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/connectors"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// desk is a scripted system, and the agent beside it.
type desk struct {
	connectors.Connector
	write func(context.Context) (connectors.Receipt, error)
	reads []connectors.Key // that were asked for
	lost  bool             // reads fail

	events []core.Event
	fail   error // of steps
}

func (d *desk) Write(ctx context.Context, _ connectors.Write) (connectors.Receipt, error) {
	return d.write(ctx)
}

func (d *desk) Read(ctx context.Context, key connectors.Key) (connectors.Record, error) {
	d.reads = append(d.reads, key)
	if d.lost || ctx.Err() != nil {
		return connectors.Record{}, &connectors.Error{Class: connectors.ClassUnavailable}
	}
	return connectors.Record{Key: key, Revision: "after"}, nil
}

func (d *desk) ClockOffset() (time.Duration, bool) { return time.Minute, true }

func (d *desk) Step(build func(int64) core.Event) error {
	if d.fail == nil {
		d.events = append(d.events, build(1))
	}
	return d.fail
}

// finder is a desk that can look up correlation keys.
type finder struct {
	*desk
	find func(context.Context, string) ([]connectors.Key, error)
}

func (f finder) Find(ctx context.Context, c string) ([]connectors.Key, error) { return f.find(ctx, c) }

func (d *desk) loop() *apply.Loop {
	return apply.New(apply.Config{System: "desk", Connector: d, Engine: d})
}

func fails(class connectors.Class) func(context.Context) (connectors.Receipt, error) {
	return func(context.Context) (connectors.Receipt, error) {
		return connectors.Receipt{}, &connectors.Error{Class: class, Field: "status", Message: "no", RetryAfter: time.Second}
	}
}

var (
	update  = connectors.Write{Kind: connectors.WriteUpdate, Key: "7"}
	create  = connectors.Write{Kind: connectors.WriteCreate, Correlation: "c"}
	comment = connectors.Write{Kind: connectors.WriteComment, Key: "7"}
)

// What is worth a look afterwards is read back, and only that.
func TestReadBack(t *testing.T) {
	receipt := func(context.Context) (connectors.Receipt, error) {
		return connectors.Receipt{Key: "9", Revision: "r"}, nil
	}
	for name, c := range map[string]struct {
		write connectors.Write
		do    func(context.Context) (connectors.Receipt, error)
		class connectors.Class
		read  connectors.Key
	}{
		"update":             {update, receipt, "", "7"},
		"comment":            {comment, receipt, "", "7"},
		"create":             {create, receipt, "", "9"},
		"update in doubt":    {update, fails(connectors.ClassUnknown), connectors.ClassUnknown, "7"},
		"create in doubt":    {create, fails(connectors.ClassUnknown), connectors.ClassUnknown, ""},
		"record moved":       {update, fails(connectors.ClassConflict), connectors.ClassConflict, "7"},
		"down":               {update, fails(connectors.ClassUnavailable), connectors.ClassUnavailable, ""},
		"throttled":          {update, fails(connectors.ClassThrottled), connectors.ClassThrottled, ""},
		"refused":            {update, fails(connectors.ClassInvalid), connectors.ClassInvalid, ""},
		"denied":             {update, fails(connectors.ClassDenied), connectors.ClassDenied, ""},
		"gone":               {update, fails(connectors.ClassNotFound), connectors.ClassNotFound, ""},
		"no connector's own": {update, func(context.Context) (connectors.Receipt, error) { return connectors.Receipt{}, errors.New("odd") }, connectors.ClassUnknown, "7"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &desk{write: c.do}
			if err := d.loop().Write(t.Context(), core.Write{System: "desk", Intent: 3, Write: c.write}); err != nil {
				t.Fatal(err)
			}
			got := d.events[0].(core.Written)
			if got.System != "desk" || got.Intent != 3 || got.NowMillis != 1 || got.ClockAhead != time.Minute {
				t.Errorf("told %+v", got)
			}
			if (got.Fault == nil) != (c.class == "") || got.Fault != nil && got.Fault.Class != c.class {
				t.Errorf("fault %+v, want %q", got.Fault, c.class)
			}
			if c.class == "" && got.Receipt.Revision != "r" {
				t.Errorf("receipt %+v", got.Receipt)
			}
			if c.read == "" {
				if len(d.reads) != 0 || got.Record != nil {
					t.Errorf("read back %q", d.reads)
				}
			} else if len(d.reads) != 1 || got.Record == nil || got.Record.Key != c.read {
				t.Errorf("read %q, told of %+v, want %q", d.reads, got.Record, c.read)
			}
		})
	}
}

func TestFaultTellsAll(t *testing.T) {
	d := &desk{write: fails(connectors.ClassInvalid)}
	if err := d.loop().Write(t.Context(), core.Write{Write: update}); err != nil {
		t.Fatal(err)
	}
	want := core.Fault{Class: connectors.ClassInvalid, Field: "status", Message: "no", RetryAfter: time.Second}
	if got := d.events[0].(core.Written).Fault; *got != want {
		t.Errorf("fault %+v, want %+v", *got, want)
	}
}

// A failed read-back is no failed write.
func TestReadBackFails(t *testing.T) {
	d := &desk{lost: true, write: func(context.Context) (connectors.Receipt, error) { return connectors.Receipt{Key: "7"}, nil }}
	if err := d.loop().Write(t.Context(), core.Write{Write: update}); err != nil {
		t.Fatal(err)
	}
	if got := d.events[0].(core.Written); got.Fault != nil || got.Record != nil {
		t.Errorf("told %+v", got)
	}
}

func TestFailedStepIsReturned(t *testing.T) {
	d := &desk{fail: errors.New("no space left"), write: fails(connectors.ClassInvalid)}
	if err := d.loop().Write(t.Context(), core.Write{Write: update}); !errors.Is(err, d.fail) {
		t.Errorf("got %v", err)
	}
}

// A write under way when the agent is told to stop finishes, and is read back.
func TestGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d := &desk{write: func(call context.Context) (connectors.Receipt, error) {
			cancel()
			time.Sleep(9 * time.Second)
			return connectors.Receipt{Key: "7"}, call.Err()
		}}
		if err := d.loop().Write(ctx, core.Write{Write: update}); err != nil {
			t.Fatal(err)
		}
		if got := d.events[0].(core.Written); got.Fault != nil || got.Record == nil {
			t.Errorf("told %+v", got)
		}
	})
}

// What does not finish in time is doubt, and the stop goes on.
func TestGraceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		d := &desk{write: func(call context.Context) (connectors.Receipt, error) {
			cancel()
			<-call.Done()
			return connectors.Receipt{}, call.Err()
		}}
		if err := d.loop().Write(ctx, core.Write{Write: update}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("took %s", took)
		}
		if got := d.events[0].(core.Written); got.Fault == nil || got.Fault.Class != connectors.ClassUnknown || got.Record != nil {
			t.Errorf("told %+v", got)
		}
	})
}

// Nothing begins after the end: the next start finds the intent.
func TestNoWriteAfterTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := &desk{write: func(context.Context) (connectors.Receipt, error) {
		t.Error("a write began")
		return connectors.Receipt{}, nil
	}}
	if err := d.loop().Write(ctx, core.Write{Write: update}); err != nil || len(d.events) != 0 {
		t.Errorf("%v, told %+v", err, d.events)
	}
}

func TestFind(t *testing.T) {
	d := &desk{}
	look := core.Find{System: "desk", Intent: 4, Correlation: "c"}
	if err := d.loop().Find(t.Context(), look); err != nil {
		t.Fatal(err)
	}
	f := finder{d, func(_ context.Context, c string) ([]connectors.Key, error) {
		return []connectors.Key{connectors.Key(c)}, nil
	}}
	loop := apply.New(apply.Config{System: "desk", Connector: f, Engine: d})
	if err := loop.Find(t.Context(), look); err != nil {
		t.Fatal(err)
	}
	unable, found := d.events[0].(core.Found), d.events[1].(core.Found)
	if unable.Fault == nil || unable.Fault.Class != connectors.ClassInvalid || unable.Fault.Message == "" {
		t.Errorf("a connector that cannot: %+v", unable)
	}
	if found.Fault != nil || found.Intent != 4 || len(found.Keys) != 1 || found.Keys[0] != "c" {
		t.Errorf("told %+v", found)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f.find = func(ctx context.Context, _ string) ([]connectors.Key, error) {
		cancel()
		return nil, ctx.Err()
	}
	loop = apply.New(apply.Config{System: "desk", Connector: f, Engine: d})
	if err := loop.Find(ctx, look); err != nil || len(d.events) != 2 {
		t.Errorf("cut off by a stop: %v, told %+v", err, d.events)
	}
}
