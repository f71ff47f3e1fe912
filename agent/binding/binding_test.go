package binding_test

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entente-sync/entente/agent/binding"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/pact/pactfile"
	"github.com/entente-sync/entente/proto/yamlfile"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func samplePact(t testing.TB) *pact.Pact {
	t.Helper()
	p, findings := pactfile.Load("ops-incidents.yaml", readFile(t, "testdata/ops-incidents.yaml"))
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	return p
}

func sample(t testing.TB) *binding.Binding {
	t.Helper()
	b, findings := binding.Load("acme.yaml", readFile(t, "testdata/acme.yaml"), samplePact(t))
	if len(findings) > 0 {
		t.Fatal(yamlfile.Err(findings))
	}
	return b
}

// load compiles a binding whose fields are the given lines.
func load(t testing.TB, fields string) *binding.Binding {
	t.Helper()
	src := "apiVersion: entente/v1\nkind: Binding\nmetadata: {name: b}\npact: ops-incidents\nsystem: {name: s}\n" + fields
	b, findings := binding.Load("b.yaml", []byte(src), samplePact(t))
	if len(findings) > 0 {
		t.Fatal(yamlfile.Err(findings))
	}
	return b
}

type locals = map[string]value.Value

func shown() locals {
	return locals{
		"summary": value.Text("Disk full"), "description": value.Text("line\r\nline"), "status": value.Text("Backlog"),
		"impact": value.Int(2), "urgency": value.Int(1), "assignee": value.Text("Ann@Example.com"), "note": value.Null(),
		"points": value.Int(3), "is_urgent": value.Null(), "due_on": value.Date(time.Unix(0, 0).UTC()),
		"estimated": value.Int(2), "votes": value.Int(7), "seen_at": value.Millis(5), "resolution": value.Null(),
		"labels": value.List(value.Text("todev")),
	}
}

func TestAccessors(t *testing.T) {
	b := sample(t)
	if b.Name() != "acme-redmine" || b.Pact() != "ops-incidents" || b.System() != "redmine" || b.Connector() != "redmine" ||
		b.Scope()["project"] != "ops" || b.Revision() == 0 || len(b.Fields()) != 12 || b.Fields()[0] != "assignee" {
		t.Errorf("%v", b.Fields())
	}
	if b.Sends("impact_note") || !b.Receives("impact_note") || !b.Sends("title") || b.Sends("none") || len(b.Locals("priority")) != 2 {
		t.Error("directions or locals")
	}
	if b.OnMeet("acme") != "local" || b.OnMeet("globex") != "pact" || load(t, "fields: {title: a}").OnMeet("acme") != "newest" {
		t.Error("on_meet")
	}
	if got := b.OnCreate()["tracker"]; !got.Equal(value.Text("Incident")) {
		t.Errorf("on_create: %s", got)
	}
	if findings := b.RunTests(); len(findings) > 0 {
		t.Error(yamlfile.Err(findings))
	}
}

func TestGet(t *testing.T) {
	b := sample(t)
	two, _ := value.ParseDecimal("2")
	for f, want := range map[string]value.Value{
		"title": value.Text("Disk full"), "description": value.Text("line\nline"), "status": value.Text("new"),
		"priority": value.Text("p2"), "assignee": value.Text("ann@example.com"), "impact_note": value.Null(),
		"effort": value.Text("3 pts"), "urgent": value.Bool(false), "due": value.Date(time.Unix(0, 0).UTC()),
		"hours": two, "votes": value.Int(7), "seen": value.Millis(5),
	} {
		name := b.Fields()[0]
		for _, n := range b.Fields() {
			if string(n) == f {
				name = n
			}
		}
		if got, p := b.Get(name, shown()); p != nil || !got.Equal(want) {
			t.Errorf("%s: %s, want %s (%v)", f, got, want, p)
		}
	}
}

func TestProblems(t *testing.T) {
	b := sample(t)
	for _, c := range []struct {
		field      string
		change     locals
		code, says string
		keep       bool
	}{
		{"status", locals{"status": value.Text("Weird")}, binding.CodeUnmapped, `"Weird"`, false},
		{"priority", locals{"impact": value.Int(9)}, binding.CodeUnmapped, "9, 1", false},
		{"assignee", locals{"assignee": value.Text("nobody")}, binding.CodeUnmapped, "e-mail", true},
		{"title", locals{"summary": value.Null()}, binding.CodeInvalid, "required", false},
		{"title", locals{"summary": value.Int(1)}, binding.CodeType, "int", false},
		{"title", locals{"summary": value.Text(strings.Repeat("x", 256))}, binding.CodeInvalid, "256", false},
		{"effort", locals{"points": value.Text("secret")}, binding.CodeExpression, "read", false},
		{"effort", locals{"points": value.Int(-3)}, binding.CodeInvalid, "pattern", false},
		{"effort", locals{"points": value.Text(strings.Repeat("secret", 1<<14))}, binding.CodeSize, "65536", false},
	} {
		local := shown()
		maps.Copy(local, c.change)
		for _, f := range b.Fields() {
			if string(f) != c.field {
				continue
			}
			_, p := b.Get(f, local)
			if p == nil || p.Code != c.code || p.Field != f || p.Keep != c.keep || !strings.Contains(p.Message, c.says) || strings.Contains(p.Error(), "secret") {
				t.Errorf("%s: %+v", c.field, p)
			}
		}
	}
	if _, p := b.Get("title", locals{}); p == nil || p.Code != binding.CodeNotShown || !p.Keep {
		t.Errorf("not shown: %+v", p)
	}
	if _, p := b.Put("status", value.Text("invented"), shown()); p == nil || p.Code != binding.CodeInvalid {
		t.Errorf("a value outside the pact: %+v", p)
	}
	if _, p := b.Put("title", value.Int(1), shown()); p == nil {
		t.Error("a value of another kind was written")
	}
	if _, p := b.Get("labels", shown()); p == nil {
		t.Error("a field that is not mapped was read")
	}
}

func TestEnters(t *testing.T) {
	b := sample(t)
	if in, p := b.Enters(shown()); !in || p != nil {
		t.Errorf("%v %v", in, p)
	}
	if in, p := b.Enters(locals{"labels": value.List()}); in || p != nil {
		t.Errorf("%v %v", in, p)
	}
	if in, p := b.Enters(locals{}); in || p == nil || p.Code != binding.CodeExpression {
		t.Errorf("%v %v", in, p)
	}
}

func TestComments(t *testing.T) {
	rule, ok := sample(t).Comments()
	if !ok || rule.Field() != "comments" || !rule.Receives() {
		t.Fatal("no rule")
	}
	for _, c := range []struct {
		comment connectors.Comment
		sends   bool
	}{
		{connectors.Comment{Body: "hello"}, true},
		{connectors.Comment{Body: "hello", Internal: true}, false},
		{connectors.Comment{Body: "[home] hello"}, false},
	} {
		if sends, p := rule.Sends(c.comment); sends != c.sends || p != nil {
			t.Errorf("%+v: %v", c.comment, p)
		}
	}
	if got := rule.Body("Ann", "acme", "hi"); got != "**Ann** (acme):\n\nhi" {
		t.Errorf("%q", got)
	}
	careless, _ := load(t, "fields: {comments: {field: c, send: 'true'}}").Comments()
	sends := func(r binding.CommentRule, c connectors.Comment) bool {
		ok, p := r.Sends(c)
		return ok && p == nil
	}
	if sends(careless, connectors.Comment{Internal: true}) || !sends(careless, connectors.Comment{}) {
		t.Error("an expression that ignores it.internal let an internal comment out")
	}
	stated, _ := load(t, "fields: {comments: {field: c, send: 'it.internal || true'}}").Comments()
	if !sends(stated, connectors.Comment{Internal: true}) {
		t.Error("internal comments stay although the binding says so")
	}
	if got := careless.Body("Ann", "acme", "hi"); got != "Ann (acme):\n\nhi" {
		t.Errorf("%q", got)
	}
}

// TestUndecidedComment: a comment on which the send expression fails is neither
// sent nor silently kept.
func TestUndecidedComment(t *testing.T) {
	for _, c := range []struct {
		send, body, code string
	}{
		{`int(it.body) > 0`, "no number", binding.CodeExpression},
		{`it.missing`, "hello", binding.CodeExpression},
		{`dyn(it.body)`, "hello", binding.CodeExpression},
		{`it.body != ""`, strings.Repeat("x", 65<<10), binding.CodeSize},
	} {
		rule, _ := load(t, "fields: {comments: {field: c, send: '"+c.send+"'}}").Comments()
		if sends, p := rule.Sends(connectors.Comment{Body: c.body}); sends || p == nil || p.Code != c.code || strings.Contains(p.Message, "hello") {
			t.Errorf("%s: %v %+v", c.send, sends, p)
		}
		if sends, p := rule.Sends(connectors.Comment{Body: c.body, Internal: true}); sends || p != nil {
			t.Errorf("%s: an internal comment: %v %+v", c.send, sends, p)
		}
	}
}

func TestExpressionsAreBounded(t *testing.T) {
	for _, expr := range []string{
		`[1,2,3,4,5,6,7,8,9,10].map(a, [1,2,3,4,5,6,7,8,9,10].map(b, [1,2,3,4,5,6,7,8,9,10].map(c, [1,2,3,4,5,6,7,8,9,10].map(d, [1,2,3,4,5,6,7,8,9,10].map(e, [1,2,3,4,5,6,7,8,9,10].map(f, a)))))).size() > 0 ? it.value : ""`,
		`it.value + it.value + it.value`,
	} {
		b := load(t, "fields: {impact_note: {field: a, direction: send, read: '"+expr+"'}}")
		_, p := b.Get("impact_note", locals{"a": value.Text(strings.Repeat("x", 40<<10))})
		if p == nil || p.Code != binding.CodeExpression && p.Code != binding.CodeSize {
			t.Errorf("%s: %+v", expr[:20], p)
		}
	}
}

// TestOrderOfMaps: what iterates over a map gives the same result every time.
func TestOrderOfMaps(t *testing.T) {
	b := load(t, `fields: {impact_note: {field: a, direction: send, read: '{"q": 1, "w": 2, "e": 3, "r": 4, "t": 5}.map(k, k).join("") + it.value.map(k, k).join("")'}}`)
	in := value.Map(locals{"z": value.Null(), "y": value.Null(), "x": value.Null(), "w": value.Null()})
	for range 50 {
		if got, p := b.Get("impact_note", locals{"a": in}); p != nil || got.AsText() != "eqrtwwxyz" {
			t.Fatalf("%s %v", got, p)
		}
	}
}

func TestFailingCases(t *testing.T) {
	b := load(t, `match: it.a != ""
fields: {title: a, status: {field: s, map: {new: New}, unmapped: hold}}
tests:
  - {name: one, local: {a: x, s: New}, expect: {sent: {title: y}}}
  - {name: two, local: {a: ""}, expect: {sent: {title: x}}}
  - {name: three, local: {s: New}, receive: {status: closed}, expect: {writes: {}}}
  - {name: four, local: {a: x}, expect: {enters: false}}
`)
	var got []string
	for _, f := range b.RunTests() {
		got = append(got, f.Error())
	}
	want := []string{
		`b.yaml:9:63: binding.test: /tests/0/expect/sent/title: one: got "x", want "y"`,
		`b.yaml:10:42: binding.test: /tests/1/expect/sent: two: nothing is sent: match keeps the record out`,
		`b.yaml:10:56: binding.test: /tests/1/expect/sent/title: two: field title: is required and would become empty`,
		`b.yaml:11:36: binding.test: /tests/2/receive: three: status: no row of the table writes "closed"`,
		`b.yaml:12:50: binding.test: /tests/3/expect/enters: four: got true, want false`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCheckSchema(t *testing.T) {
	b := load(t, `on_create: {tracker: Incidnt}
fields:
  title: sumary
  status: {field: status, map: {new: New, in_progress: Openned, on_hold: Hold, resolved: Done, closed: Shut}}
  votes: votes
  hours: summary
`)
	var got []string
	for _, f := range b.CheckSchema(connectors.Schema{Fields: []connectors.FieldSchema{
		{Name: "category", Kind: connectors.FieldText, Required: true},
		{Name: "status", Kind: connectors.FieldEnum, Values: []string{"New", "Opened", "Hold", "Done", "Shut"}},
		{Name: "summary", Kind: connectors.FieldText, Required: true},
		{Name: "tracker", Kind: connectors.FieldEnum, Values: []string{"Incident"}},
		{Name: "votes", Kind: connectors.FieldNumber, ReadOnly: true},
	}}) {
		got = append(got, f.Error())
	}
	want := []string{
		`b.yaml:6:1: binding.required: /on_create: a create needs local field "category" (give it under on_create, or map it)`,
		`b.yaml:6:22: binding.local_value: /on_create/tracker: "tracker" has no value "Incidnt" (did you mean "Incident"?)`,
		`b.yaml:8:10: binding.local_field: /fields/title/field: the system has no field "sumary" (did you mean "summary"?)`,
		`b.yaml:9:3: binding.unread: /fields/status: no row reads "Opened" of "status" (add it to a row, or state unmapped: hold or unmapped: keep)`,
		`b.yaml:9:56: binding.local_value: /fields/status/map/in_progress: "status" has no value "Openned" (did you mean "Opened"?)`,
		`b.yaml:10:10: binding.read_only: /fields/votes/field: the system does not let "votes" be written (state direction: send)`,
		`b.yaml:11:10: binding.kind: /fields/hours/field: decimal of the pact does not fit "summary", which is text (give a map, or read and write)`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestBroken compares the findings of every broken file with its golden ones.
func TestBroken(t *testing.T) {
	files, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %d files", err, len(files))
	}
	p := samplePact(t)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, findings := binding.Load(filepath.Base(file), readFile(t, file), p)
			if b != nil || len(findings) == 0 {
				t.Fatal("a broken binding was compiled")
			}
			var got strings.Builder
			for _, f := range findings {
				got.WriteString(f.Error() + "\n")
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := readFile(t, golden); got.String() != string(want) {
				t.Errorf("got  %swant %s", got.String(), want)
			}
		})
	}
}

func FuzzLoad(f *testing.F) {
	p := samplePact(f)
	f.Add(readFile(f, "testdata/acme.yaml"))
	f.Fuzz(func(t *testing.T, src []byte) {
		b, findings := binding.Load("fuzz.yaml", src, p)
		if (b == nil) == (len(findings) == 0) {
			t.Fatalf("binding %v with %d findings", b, len(findings))
		}
		if b == nil {
			return
		}
		for _, name := range b.Fields() {
			v, problem := b.Get(name, shown())
			if problem == nil && b.Receives(name) {
				if writes, problem := b.Put(name, v, shown()); problem == nil && len(writes) > 0 {
					t.Fatalf("%s: what is shown would be written again", name)
				}
			}
		}
		b.RunTests()
	})
}
