package agent

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/outbox"
	"github.com/entente-sync/entente/agent/store"
	sandbox "github.com/entente-sync/entente/connectors/memory"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/wire"
)

func TestValidate(t *testing.T) {
	good := configure(t, &hub{}, sandbox.New(sandbox.Config{Name: "desk"}))
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Config){
		"site":                          func(c *Config) { c.Site = "" },
		"agent":                         func(c *Config) { c.Name = "no name" },
		"no directory for the store":    func(c *Config) { c.Dir = "" },
		"no hub to dial":                func(c *Config) { c.Hub = nil },
		"address 1 of the hub is empty": func(c *Config) { c.Hub = []string{"a", ""} },
		"no pact":                       func(c *Config) { c.Pacts = nil },
		"pact 0 is nil":                 func(c *Config) { c.Pacts = []*pact.Pact{nil} },
		"pact tickets is given twice":   func(c *Config) { c.Pacts = append(c.Pacts, c.Pacts[0]) },
		"site initech is no member of pact tickets": func(c *Config) { c.Site = "initech" },
		"no system":                                                func(c *Config) { c.Systems = nil },
		`system name "" is empty or given twice`:                   func(c *Config) { c.Systems[0].Name = "" },
		`system name "desk" is empty or given twice`:               func(c *Config) { c.Systems = append(c.Systems, c.Systems[0]) },
		"system desk has no connector or no binding":               func(c *Config) { c.Systems[0].Connector = nil },
		"system desk is bound to pact tickets, which is not given": func(c *Config) { c.Pacts = nil },
	} {
		t.Run(want, func(t *testing.T) {
			c := good
			c.Systems, c.Pacts = slices.Clone(good.Systems), slices.Clone(good.Pacts)
			spoil(&c)
			if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v", err)
			}
			if _, err := Open(c); err == nil || !strings.HasPrefix(err.Error(), "agent configuration: ") {
				t.Errorf("Open: %v", err)
			}
		})
	}
}

// Every metric keeps to the rules of the trade, and no label grows with what
// partners or records say.
func TestMetrics(t *testing.T) {
	desk := sandbox.New(sandbox.Config{Name: "desk"})
	c := configure(t, &hub{}, desk)
	registry := prometheus.NewRegistry()
	c.Metrics = registry
	for range 50 {
		desk.Create("ana", text("printer"), time.Time{})
	}
	a, stop := start(t, c)
	eventually(t, "50 records linked", func() bool {
		s, err := a.Status()
		return err == nil && s.Ready && s.Systems[0].Linked == 50
	})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	series := 0
	for _, f := range families {
		series += len(f.GetMetric())
	}
	const most = 15 + 2 // one each, and the kinds of events that a birth makes
	if series > most {
		t.Errorf("%d series, want at most %d", series, most)
	}
	code, body := get(a, "/metrics")
	for _, want := range []string{`entente_agent_linked_records{system="desk"} 50`, `entente_agent_events_total{kind="born",system="desk"} 50`} {
		if code != 200 || !strings.Contains(body, want) {
			t.Errorf("%d, no %s in\n%s", code, want, body)
		}
	}
	stop()
	if families, err := registry.Gather(); err != nil || len(families) != 0 {
		t.Errorf("after the end: %v, %v", families, err)
	}
}

// What a company shares is for that company to say.
func TestCheckDocument(t *testing.T) {
	own := tickets(t)
	later, other := *own, *own
	later.Version = 2
	other.Members = []crdt.Site{"acme", "initech"}
	a := &Agent{config: Config{Pacts: []*pact.Pact{own}}}
	for name, c := range map[string]struct {
		pact     crdt.Pact
		document []byte
		want     string
	}{
		"equal":         {"tickets", own.Encode(), ""},
		"another text":  {"tickets", other.Encode(), "pact tickets version 1: the hub's text differs from the one this site accepted"},
		"newer version": {"tickets", later.Encode(), "pact tickets: the hub has version 2, this site accepted version 1"},
		"garbage":       {"tickets", []byte("garbage"), "pact tickets of the hub: "},
		"empty":         {"tickets", nil, "pact tickets of the hub: "},
		"unknown":       {"bugs", own.Encode(), "pact bugs was not accepted by this site"},
	} {
		err := a.checkDocument(wire.PactState{Pact: c.pact, Document: c.document})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// One batch is a run without gaps: it names one predecessor.
func TestPending(t *testing.T) {
	m := memoryOf(t, 6, 3)
	after, ops, next, err := m.Pending("tickets", 0, 10, 1<<20)
	if err != nil || !after.IsZero() || seqs(ops) != "12" || next != 3 {
		t.Errorf("the run before the answered op: after %v, %s, next %d, %v", after, seqs(ops), next, err)
	}
	after, ops, next, err = m.Pending("tickets", next, 2, 1<<20)
	if err != nil || after.Seq != 3 || seqs(ops) != "45" || next != 6 {
		t.Errorf("the run behind it: after %v, %s, next %d, %v", after, seqs(ops), next, err)
	}
	if _, ops, next, err = m.Pending("tickets", next, 10, 1); err != nil || seqs(ops) != "6" || next != 7 {
		t.Errorf("one op at least: %s, next %d, %v", seqs(ops), next, err)
	}
	if _, ops, _, err = m.Pending("tickets", next, 10, 1<<20); err != nil || len(ops) != 0 {
		t.Errorf("the end: %s, %v", seqs(ops), err)
	}
	one := wire.OpBytes(&crdt.Op{}) // less than any op
	if _, ops, _, err = m.Pending("tickets", 4, 10, one); err != nil || seqs(ops) != "4" {
		t.Errorf("bytes: %s, %v", seqs(ops), err)
	}
}

// memoryOf returns a store whose outbox has n ops, one of which is answered.
func memoryOf(t *testing.T, n, acked int) memory {
	t.Helper()
	db := store.NewMemory()
	err := db.Update(func(tx store.Tx) error {
		for i := range n {
			op, err := outbox.Append(tx, crdt.Op{
				Key:   crdt.Key{Pact: "tickets", Type: "ticket", Record: crdt.RecordID{1}, Field: "title"},
				Stamp: crdt.StampOf(1000, uint16(i)), Author: crdt.Author{Site: "acme", Agent: "main", Incarnation: 1}, PactVersion: 1,
				Evidence: crdt.Evidence{Class: crdt.EvidencePoll}, Value: crdt.Plain(value.Text("x")),
			}, nil)
			if err != nil {
				return err
			}
			if i+1 == acked {
				e, _, err := outbox.Find(tx, "tickets", op.ID())
				if err != nil {
					return err
				}
				if err := outbox.Ack(tx, e, 9); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return memory{db}
}

func seqs(ops []crdt.Op) string {
	var b strings.Builder
	for i := range ops {
		b.WriteByte('0' + byte(ops[i].Seq))
	}
	return b.String()
}

// The log of what the core decided names the place and never a value.
func TestLogNotice(t *testing.T) {
	var log strings.Builder
	a := &Agent{config: Config{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}}
	a.logNotice(core.Notice{Kind: core.NoticeHeld, System: "desk", Pact: "tickets", Record: crdt.RecordID{1}, Field: "title", Code: "value.unmapped"})
	a.logNotice(core.Notice{Kind: core.NoticeEdit, System: "desk"})
	for _, want := range []string{"level=WARN msg=sync kind=held system=desk pact=tickets record=", "field=title code=value.unmapped", "level=DEBUG msg=sync kind=edit system=desk\n"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in\n%s", want, log.String())
		}
	}
}
