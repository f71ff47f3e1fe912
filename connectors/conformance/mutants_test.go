package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/memory"
	"github.com/entente-sync/entente/crdt/value"
)

// mutant is a connector with one mistake, laid over a correct one.
type mutant struct {
	*memory.Connector
	changes func(connectors.Cursor, int, connectors.Page, error) (connectors.Page, error)
	read    func(*connectors.Record, error) error
	before  func(*connectors.Write) error
	after   func(*connectors.Receipt, error) error
	find    func([]connectors.Key) []connectors.Key
}

func (m *mutant) Changes(ctx context.Context, c connectors.Cursor, limit int) (connectors.Page, error) {
	p, err := m.Connector.Changes(ctx, c, limit)
	if m.changes != nil {
		return m.changes(c, limit, p, err)
	}
	return p, err
}

func (m *mutant) Read(ctx context.Context, k connectors.Key) (connectors.Record, error) {
	r, err := m.Connector.Read(ctx, k)
	if m.read != nil {
		err = m.read(&r, err)
	}
	return r, err
}

func (m *mutant) Write(ctx context.Context, w connectors.Write) (connectors.Receipt, error) {
	if m.before != nil {
		w.Fields = maps.Clone(w.Fields)
		if err := m.before(&w); err != nil {
			return connectors.Receipt{}, err
		}
	}
	r, err := m.Connector.Write(ctx, w)
	if m.after != nil {
		err = m.after(&r, err)
	}
	return r, err
}

func (m *mutant) Find(ctx context.Context, s string) ([]connectors.Key, error) {
	keys, err := m.Connector.Find(ctx, s)
	if m.find != nil {
		keys = m.find(keys)
	}
	return keys, err
}

// recorder is a T that notes a failure instead of reporting it.
type recorder struct {
	ctx      context.Context
	failures []string
	cleanups []func()
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.ctx }
func (r *recorder) Cleanup(f func())         { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Error(a ...any)           { r.failures = append(r.failures, fmt.Sprint(a...)) }
func (r *recorder) Errorf(f string, a ...any) {
	r.failures = append(r.failures, fmt.Sprintf(f, a...))
}
func (r *recorder) Fatal(a ...any)            { r.Error(a...); runtime.Goexit() }
func (r *recorder) Fatalf(f string, a ...any) { r.Errorf(f, a...); runtime.Goexit() }

// failing runs cases and returns the names of the cases that fail.
func failing(ctx context.Context, e *Env, cases []Case) (names []string) {
	for _, c := range cases {
		if c.Needs != nil && !c.Needs(e.Caps, e) {
			continue
		}
		r := &recorder{ctx: ctx}
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.Run(r, e)
		}()
		<-done
		for _, f := range r.cleanups {
			f()
		}
		if len(r.failures) > 0 {
			names = append(names, c.Name)
		}
	}
	return names
}

func environment(s *memory.System, caps connectors.Capabilities, change func(*mutant)) *Env {
	spec := connectors.Spec{Name: "mutant", Capabilities: caps, Open: func(connectors.Settings) (connectors.Connector, error) {
		m := &mutant{Connector: s.Connector()}
		change(m)
		return m, nil
	}}
	e := &Env{Caps: caps, Driver: Driver{
		Spec: spec, Settle: 30 * time.Millisecond,
		Fields: Fields{Text: "title", Long: "description", Enum: "status", EnumValues: [2]string{"new", "open"}},
	}}
	e.C, _ = spec.Open(connectors.Settings{})
	e.Scope.Users = WithConnector(s.ConnectorOf("jane"))
	return e
}

// flaw is a mistake, and the case that must catch it.
type flaw struct {
	caps   func(*connectors.Capabilities)
	mutate func(*mutant)
	want   string // "" means that no case may fail
}

func listingFlaws() map[string]flaw {
	var pages int
	return map[string]flaw{
		"correct": {mutate: func(*mutant) {}},
		"forgets every third reference": {mutate: func(m *mutant) {
			m.changes = func(_ connectors.Cursor, _ int, p connectors.Page, err error) (connectors.Page, error) {
				p.Refs = slices.DeleteFunc(p.Refs, func(connectors.Ref) bool { pages++; return pages%3 == 0 })
				return p, err
			}
		}, want: "changes-without-loss"},
		"cursor from the future": {mutate: func(m *mutant) {
			m.changes = func(_ connectors.Cursor, _ int, p connectors.Page, err error) (connectors.Page, error) {
				if len(p.Next) == 9 {
					p.Next[8] += 3
				}
				return p, err
			}
		}, want: "changes-under-edits"},
		"no cursor": {mutate: func(m *mutant) {
			m.changes = func(_ connectors.Cursor, _ int, p connectors.Page, err error) (connectors.Page, error) {
				p.Next = nil
				return p, err
			}
		}, want: "resume-any-cursor"},
		"damaged cursor reads as none": {mutate: func(m *mutant) {
			m.changes = func(_ connectors.Cursor, limit int, p connectors.Page, err error) (connectors.Page, error) {
				if connectors.ClassOf(err) == connectors.ClassInvalid {
					return m.Connector.Changes(context.Background(), nil, limit)
				}
				return p, err
			}
		}, want: "cursor-refused"},
		"foreign errors": {mutate: func(m *mutant) {
			m.read = func(_ *connectors.Record, err error) error {
				if err != nil {
					return errors.New("not found")
				}
				return nil
			}
		}, want: "unknown-key"},
		"empty fields are left out": {mutate: func(m *mutant) {
			m.read = func(r *connectors.Record, err error) error {
				maps.DeleteFunc(r.Fields, func(_ string, v value.Value) bool { return v.IsNull() })
				return err
			}
		}, want: "record-whole"},
	}
}

func recordFlaws() map[string]flaw {
	var pages int
	return map[string]flaw{
		"null reads as empty text": {mutate: func(m *mutant) {
			m.read = func(r *connectors.Record, err error) error {
				for name, v := range r.Fields {
					if v.IsNull() {
						r.Fields[name] = value.Text("")
					}
				}
				return err
			}
		}, want: "record-whole"},
		"restless revisions": {mutate: func(m *mutant) {
			m.read = func(r *connectors.Record, err error) error {
				pages++
				r.Revision += fmt.Sprint("~", pages)
				return err
			}
		}, want: "revision-stable"},
		"writes all fields": {mutate: func(m *mutant) {
			m.before = func(w *connectors.Write) error {
				if w.Kind == connectors.WriteUpdate && w.Fields["title"].IsNull() {
					w.Fields["title"] = value.Text("blank")
				}
				return nil
			}
		}, want: "only-named-fields"},
		"stale cache": {mutate: func(m *mutant) {
			m.read = func(r *connectors.Record, err error) error {
				if len(r.History) == 1 {
					r.Fields["title"] = r.History[0].Old
				}
				return err
			}
		}, want: "read-own-write"},
		"ignores IfRevision": {mutate: func(m *mutant) {
			m.before = func(w *connectors.Write) error { w.IfRevision = ""; return nil }
		}, want: "conditional-conflict"},
		"invents receipts": {mutate: func(m *mutant) {
			m.after = func(r *connectors.Receipt, err error) error { r.Revision = "r0"; return err }
		}, want: "write-revision"},
		"finds nothing": {mutate: func(m *mutant) {
			m.find = func([]connectors.Key) []connectors.Key { return nil }
		}, want: "create-is-found"},
		"finds too much": {mutate: func(m *mutant) {
			m.find = func(k []connectors.Key) []connectors.Key {
				if len(k) == 0 {
					return []connectors.Key{"1"}
				}
				return k
			}
		}, want: "find-is-exact"},
	}
}

func answerFlaws() map[string]flaw {
	last := value.Null()
	return map[string]flaw{
		"no field in errors": {mutate: func(m *mutant) {
			m.after = func(_ *connectors.Receipt, err error) error {
				var e *connectors.Error
				if errors.As(err, &e) {
					e.Field = ""
				}
				return err
			}
		}, want: "unknown-option"},
		"values in errors": {mutate: func(m *mutant) {
			m.before = func(w *connectors.Write) error { last = w.Fields["status"]; return nil }
			m.after = func(_ *connectors.Receipt, err error) error {
				var e *connectors.Error
				if errors.As(err, &e) {
					e.Message += last.String()
				}
				return err
			}
		}, want: "unknown-option"},
		"drops unknown fields": {mutate: func(m *mutant) {
			m.before = func(w *connectors.Write) error {
				maps.DeleteFunc(w.Fields, func(n string, _ value.Value) bool { return strings.HasPrefix(n, "no_such") })
				return nil
			}
		}, want: "unknown-field"},
		"newest first": {mutate: func(m *mutant) {
			m.read = func(r *connectors.Record, err error) error { slices.Reverse(r.History); return err }
		}, want: "history-complete"},
		"everybody is self": {mutate: func(m *mutant) {
			m.read = func(r *connectors.Record, err error) error {
				for i := range r.History {
					r.History[i].Actor.Self = true
				}
				return err
			}
		}, want: "history-actors"},
		"nobody is self": {mutate: func(m *mutant) {
			m.read = func(r *connectors.Record, err error) error {
				for i := range r.Comments {
					r.Comments[i].Author.Self = false
				}
				return err
			}
		}, want: "comment-authors"},
		"equal comments become one": {mutate: func(m *mutant) {
			m.read = func(r *connectors.Record, err error) error {
				r.Comments = slices.CompactFunc(r.Comments, func(a, b connectors.Comment) bool { return a.Body == b.Body })
				return err
			}
		}, want: "comment-append"},
	}
}

func textFlaws() map[string]flaw {
	return map[string]flaw{
		"all comments public": {mutate: func(m *mutant) {
			m.before = func(w *connectors.Write) error { w.Comment.Internal = false; return nil }
		}, want: "comment-visibility"},
		"three bytes of Unicode": {mutate: func(m *mutant) {
			m.before = func(w *connectors.Write) error {
				for n, v := range w.Fields {
					if v.Kind() == value.KindText {
						w.Fields[n] = value.Text(strings.Map(func(r rune) rune {
							if r > 0xffff {
								return '?'
							}
							return r
						}, v.AsText()))
					}
				}
				return nil
			}
		}, want: "text-unicode"},
		"cuts at 20 kB": {mutate: func(m *mutant) {
			m.before = func(w *connectors.Write) error {
				if t := w.Fields["description"].AsText(); len(t) > 20000 {
					w.Fields["description"] = value.Text(t[:20000])
				}
				return nil
			}
		}, want: "text-large"},
		"undeclared normaliser": {mutate: func(m *mutant) {
			m.read = func(r *connectors.Record, err error) error {
				if v := r.Fields["description"]; !v.IsNull() {
					r.Fields["description"] = value.Text(strings.ReplaceAll(v.AsText(), "\r\n", "\n"))
				}
				return err
			}
		}, want: "text-shapes"},
		"deaf to cancellation": {mutate: func(m *mutant) {
			m.changes = func(c connectors.Cursor, limit int, p connectors.Page, err error) (connectors.Page, error) {
				if errors.Is(err, context.Canceled) {
					return m.Connector.Changes(context.Background(), c, limit)
				}
				return p, err
			}
		}, want: "cancellation"},
		"absence as evidence": {mutate: func(m *mutant) {
			m.read = func(r *connectors.Record, err error) error {
				if connectors.ClassOf(err) == connectors.ClassNotFound {
					r.Deleted = true
					return nil
				}
				return err
			}
		}, want: "unknown-key"},
	}
}

func abilityFlaws() map[string]flaw {
	type caps = connectors.Capabilities
	return map[string]flaw{
		"wrong zone": {mutate: func(m *mutant) {
			m.read = func(r *connectors.Record, err error) error { r.Created = r.Created.Add(-2 * time.Hour); return err }
		}, want: "clock"},
		"undeclared conditional": {caps: func(c *caps) { c.Conditional = false }, mutate: func(*mutant) {}, want: "undeclared-conditional"},
		"undeclared receipts":    {caps: func(c *caps) { c.WriteRevision = false }, mutate: func(*mutant) {}, want: "undeclared-write-revision"},
		"leaks a goroutine":      {mutate: func(*mutant) { go func() { time.Sleep(5 * time.Second) }() }, want: "no-goroutine-leak"},
		"undeclared revisions": {
			caps:   func(c *caps) { c.Revisions, c.Conditional, c.WriteRevision = false, false, false },
			mutate: func(*mutant) {}, want: "undeclared-revisions",
		},
		"undeclared history":      {caps: func(c *caps) { c.History = false }, mutate: func(*mutant) {}, want: "undeclared-history"},
		"undeclared correlation":  {caps: func(c *caps) { c.Correlation = false }, mutate: func(*mutant) {}, want: "undeclared-correlation"},
		"undeclared comments":     {caps: func(c *caps) { c.Comments, c.InternalComments = false, false }, mutate: func(*mutant) {}, want: "undeclared-comments"},
		"undeclared visibility":   {caps: func(c *caps) { c.InternalComments = false }, mutate: func(*mutant) {}, want: "comment-no-visibility"},
		"undeclared delete":       {caps: func(c *caps) { c.Deletes = false }, mutate: func(*mutant) {}, want: "undeclared-delete"},
		"undeclared evidence":     {caps: func(c *caps) { c.DeleteEvidence = false }, mutate: func(*mutant) {}, want: "delete-no-evidence"},
		"contradictory abilities": {caps: func(c *caps) { c.Comments = false }, mutate: func(*mutant) {}, want: "spec-valid"},
	}
}

// TestMutants: each mistake is caught by the case that is there for it, and the
// correct connector passes all.
func TestMutants(t *testing.T) {
	flaws := map[string]flaw{}
	for _, table := range []map[string]flaw{listingFlaws(), recordFlaws(), answerFlaws(), textFlaws(), abilityFlaws()} {
		maps.Copy(flaws, table)
	}
	for name, m := range flaws {
		t.Run(name, func(t *testing.T) {
			s := memory.New(memory.Config{Now: time.Now})
			c := memory.All()
			if m.caps != nil {
				m.caps(&c)
			}
			got := failing(t.Context(), environment(s, c, m.mutate), Cases())
			if m.want == "" && len(got) > 0 || m.want != "" && !slices.Contains(got, m.want) {
				t.Errorf("failing cases %v, want %q among them", got, m.want)
			}
		})
	}
}

func TestCaseNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Cases() {
		if c.Name == "" || c.Why == "" || c.Run == nil || seen[c.Name] {
			t.Errorf("case %q lacks a name of its own, a reason or a body", c.Name)
		}
		seen[c.Name] = true
	}
}
