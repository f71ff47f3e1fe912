package pact_test

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/wire"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var sites = []crdt.Site{"acme", "globex", "initech", "umbrella"}

func sample() *pact.Pact {
	return &pact.Pact{
		Name: "ops", Version: 3, Members: []crdt.Site{"acme", "globex"}, Record: "ticket",
		Deletes: []crdt.Site{"acme"},
		Fields: []pact.Field{
			{Name: "comments", Type: pact.TypeComments},
			{Name: "effort", Type: pact.TypeText, Pattern: `^[0-9]+ pts$`},
			{Name: "impact_note", Type: pact.TypeText, Writers: []crdt.Site{"globex"}},
			{Name: "labels", Type: pact.TypeTextSet},
			{Name: "status", Type: pact.TypeEnum, Values: []string{"new", "closed"}, Default: "new", Since: 2},
			{Name: "title", Type: pact.TypeText, BytesMax: 255, Required: true},
		},
	}
}

func drawPact(t *rapid.T) *pact.Pact {
	some := func(name string, most int) []crdt.Site {
		var out []crdt.Site
		for _, s := range sites[:most] {
			if rapid.Bool().Draw(t, name) {
				out = append(out, s)
			}
		}
		return out
	}
	p := &pact.Pact{
		Name: "ops", Version: rapid.Uint32Range(1, 4).Draw(t, "version"),
		Members: sites[:rapid.IntRange(2, 3).Draw(t, "members")], Record: "ticket",
	}
	p.Deletes = some("deletes", len(p.Members))
	if rapid.Bool().Draw(t, "limited") {
		n := rapid.IntRange(0, math.MaxInt32)
		p.Limits = pact.Limits{
			OpsPerSecond: n.Draw(t, "ops"), BytesPerSecond: n.Draw(t, "bytes"), Records: n.Draw(t, "records"),
			Registers: n.Draw(t, "registers"), HistoryDays: rapid.IntRange(-1, pact.HistoryDaysMax).Draw(t, "history"),
		}
	}
	for _, name := range []crdt.Field{"a", "b", "c", "d"} {
		f := pact.Field{
			Name: name, Type: rapid.SampledFrom(pact.Types()).Draw(t, "type"),
			Writers: some("writers", len(p.Members)), Since: rapid.Uint32Range(0, p.Version).Draw(t, "since"),
			Conflict: pact.PolicyNewest,
		}
		if f.Type == pact.TypeEnum {
			f.Values = []string{"x", "y"}
		}
		p.Fields = append(p.Fields, f)
	}
	return p
}

const element = "/0123456789abcdef0123456789abcdef"

// naive lists every register that a site may write, one by one.
func naive(p *pact.Pact, site crdt.Site) map[string]uint32 {
	allowed := map[string]uint32{}
	if !slices.Contains(p.Members, site) {
		return allowed
	}
	allowed["ticket ~life"] = 0
	allowed["ticket ~link/"+string(site)+"/tracker"] = 0
	for _, f := range p.Fields {
		writer := len(f.Writers) == 0 || slices.Contains(f.Writers, site)
		child := "ticket." + string(f.Name)
		if f.Type == "log<comment>" {
			allowed[child+" ~link/"+string(site)+"/tracker"] = f.Since
			if writer {
				allowed[child+" entry"], allowed[child+" ~life"] = f.Since, f.Since
			}
		} else if f.Type == "set<text>" && writer {
			allowed["ticket "+string(f.Name)+element] = f.Since
		} else if writer {
			allowed["ticket "+string(f.Name)] = f.Since
		}
	}
	return allowed
}

func TestCheckOpAgreesWithNaiveEvaluator(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPact(t)
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		site := rapid.SampledFrom(sites).Draw(t, "site")
		typ := rapid.SampledFrom([]crdt.Type{"ticket", "ticket.a", "ticket.b", "ticket.z", "tick", "ticket."}).Draw(t, "type")
		field := rapid.SampledFrom([]crdt.Field{
			"a", "b", "c", "d", "z", "entry", "a" + element, "b" + element, "c/short",
			"~life", "~link/acme/tracker", "~link/globex/tracker", "~link/acme", "~other", "~lost/a" + element,
		}).Draw(t, "field")
		op := crdt.Op{
			Key:    crdt.Key{Pact: "ops", Type: typ, Field: field},
			Author: crdt.Author{Site: site}, PactVersion: rapid.Uint32Range(0, 6).Draw(t, "at"),
		}
		life := crdt.Life{Deleted: rapid.Bool().Draw(t, "delete")}
		op.Value = crdt.Plain(value.Text("x"))
		if field == "~life" {
			op.Value = life.Envelope()
		}
		since, want := naive(p, site)[string(typ)+" "+string(field)]
		want = want && op.PactVersion >= max(since, 1) && op.PactVersion <= p.Version
		if field == "~life" && life.Deleted && !slices.Contains(p.Deletes, site) {
			want = false
		}
		if got := p.CheckOp(site, &op); (got == "") != want {
			t.Fatalf("CheckOp(%s, %s) = %q, the naive evaluator says %v", site, op.Key, got, want)
		}
	})
}

func TestReasons(t *testing.T) {
	p := sample()
	for _, c := range []struct {
		site  crdt.Site
		typ   crdt.Type
		field crdt.Field
		at    uint32
		value []byte
		want  string
	}{
		{"acme", "ticket", "title", 3, nil, ""},
		{"umbrella", "ticket", "title", 3, nil, pact.ReasonNotMember},
		{"acme", "ticket", "title", 4, nil, pact.ReasonVersion},
		{"acme", "ticket", "title", 0, nil, pact.ReasonVersion},
		{"acme", "ticket", "status", 1, nil, pact.ReasonVersion},
		{"acme", "ticket", "titel", 3, nil, pact.ReasonField},
		{"acme", "tickets", "title", 3, nil, pact.ReasonType},
		{"acme", "ticket.title", "entry", 3, nil, pact.ReasonType},
		{"acme", "ticket", "impact_note", 3, nil, pact.ReasonWriter},
		{"globex", "ticket", "~life", 3, crdt.Life{Deleted: true}.Envelope(), pact.ReasonDelete},
		{"globex", "ticket", "~life", 3, crdt.Life{}.Envelope(), ""},
		{"globex", "ticket", "~life", 3, []byte{1, 0, 4, 1, 'x'}, pact.ReasonMalformed},
		{"globex", "ticket", "~life", 3, []byte{2, 0, 0}, pact.ReasonNewer},
		{"globex", "ticket", "~lost/title" + element, 3, nil, pact.ReasonWriter},
	} {
		op := &crdt.Op{
			Key: crdt.Key{Pact: "ops", Type: c.typ, Field: c.field}, PactVersion: c.at,
			Author: crdt.Author{Site: c.site}, Value: c.value,
		}
		if got := p.CheckOp(c.site, op); got != c.want {
			t.Errorf("%s writes %s: %q, want %q", c.site, op.Key, got, c.want)
		}
	}
	op := &crdt.Op{Key: crdt.Key{Pact: "ops", Type: "ticket", Field: "title"}, PactVersion: 3, Author: crdt.Author{Site: "globex"}}
	if got := p.CheckOp("acme", op); got != pact.ReasonForged {
		t.Errorf("forged author: %q", got)
	}
	op.Key.Pact = "other"
	if got := p.CheckOp("globex", op); got != pact.ReasonUnknown {
		t.Errorf("other pact: %q", got)
	}
}

// TestReasonsAreKnownToWire: the codes travel, so package wire describes each.
func TestReasonsAreKnownToWire(t *testing.T) {
	for _, r := range []string{
		pact.ReasonUnknown, pact.ReasonNotMember, pact.ReasonVersion, pact.ReasonType, pact.ReasonField,
		pact.ReasonWriter, pact.ReasonDelete, pact.ReasonValue, pact.ReasonForged, pact.ReasonMalformed, pact.ReasonNewer,
	} {
		if !wire.Reason(r).Known() {
			t.Errorf("%s is not among wire's reasons", r)
		}
	}
}

func TestCheckEntryAsksAboutTheLoser(t *testing.T) {
	p := sample()
	loser := crdt.Op{
		Key: crdt.Key{Pact: "ops", Type: "ticket", Record: crdt.RecordID{1}, Field: "impact_note"}, Stamp: 5,
		Author: crdt.Author{Site: "globex", Agent: "one", Incarnation: 1}, Seq: 1, PactVersion: 3,
		Evidence: crdt.Evidence{Class: crdt.EvidencePoll}, Value: crdt.Plain(value.Text("x")),
	}
	winner := loser
	winner.Stamp, winner.Seq = 6, 2
	check := func(o crdt.Op) string {
		l, w := crdt.NewRegister(o, crdt.Position{}), crdt.NewRegister(winner, crdt.Position{})
		lost := crdt.NewLost(&l, &w)
		record := lost.Op()
		return p.CheckEntry(&record)
	}
	if got := check(loser); got != "" {
		t.Errorf("record of an allowed loser: %q", got)
	}
	loser.Author.Site = "acme"
	if got := check(loser); got != pact.ReasonWriter {
		t.Errorf("record of a loser that its author might not write: %q", got)
	}
	loser.Key.Field = "~lost/title" + element
	if got := p.CheckEntry(&loser); got != pact.ReasonMalformed {
		t.Errorf("record that holds no loser: %q", got)
	}
}

func TestEncodeIsCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPact(t)
		b := p.Encode()
		q, err := pact.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(p, q) {
			t.Fatalf("%+v\nbecame\n%+v", p, q)
		}
		slices.Reverse(q.Members)
		slices.Reverse(q.Deletes)
		if string(q.Encode()) != string(b) {
			t.Fatal("the order of sites changes the bytes")
		}
	})
}

func TestDecodeRefuses(t *testing.T) {
	b := sample().Encode()
	newer := slices.Clone(b)
	newer[0] = pact.Format + 1
	if _, err := pact.Decode(newer); !errors.Is(err, pact.ErrNewer) {
		t.Errorf("newer format: %v", err)
	}
	for i := range b {
		if _, err := pact.Decode(b[:i]); !errors.Is(err, pact.ErrMalformed) && !errors.Is(err, pact.ErrInvalid) {
			t.Errorf("first %d bytes: %v", i, err)
		}
	}
	p := sample()
	p.Fields[0].Name = "title"
	if _, err := pact.Decode(p.Encode()); !errors.Is(err, pact.ErrInvalid) {
		t.Errorf("unsorted fields: %v", err)
	}
}

// What was written once is read for ever, and written again as it was.
func TestFormats(t *testing.T) {
	limited := sample()
	limited.Limits = pact.Limits{OpsPerSecond: 500, BytesPerSecond: 1 << 20, Records: 7, Registers: 1 << 20, HistoryDays: 30}
	for i := range limited.Fields {
		limited.Fields[i].Conflict = pact.PolicyNewest
	}
	plain := *limited
	plain.Limits = pact.Limits{OpsPerSecond: 500, Records: 7}
	for file, want := range map[string]*pact.Pact{"testdata/pact-v1.hex": &plain, "testdata/pact-v2.hex": limited} {
		if *update {
			text := hex.EncodeToString(want.Encode()) + "\n"
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil || file != fmt.Sprintf("testdata/pact-v%d.hex", b[0]) {
			t.Fatalf("%s: %v", file, err)
		}
		got, err := pact.Decode(b)
		if err != nil || !reflect.DeepEqual(got, want) || string(got.Encode()) != string(b) {
			t.Errorf("%s: %v\n%+v\nwant\n%+v", file, err, got, want)
		}
	}
	// Format 2 with nothing that format 1 could not say is not canonical.
	b := plain.Encode()
	b[0] = 2
	if _, err := pact.Decode(append(b, 0, 0, 0)); !errors.Is(err, pact.ErrMalformed) {
		t.Errorf("a pact in a higher format than it needs: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sample().Encode())
	f.Add([]byte{pact.Format})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := pact.Decode(b)
		if err == nil && string(p.Encode()) != string(b) {
			t.Fatal("accepted bytes that are not canonical")
		}
	})
}

func TestProblems(t *testing.T) {
	for _, c := range []struct {
		path   string
		change func(*pact.Pact)
	}{
		{"/metadata/name", func(p *pact.Pact) { p.Name = "Ops" }},
		{"/metadata/version", func(p *pact.Pact) { p.Version = 0 }},
		{"/members", func(p *pact.Pact) { p.Members = p.Members[:1] }},
		{"/members", func(p *pact.Pact) { p.Members = []crdt.Site{"acme", "acme", "globex"} }},
		{"/members", func(p *pact.Pact) { p.Members = make([]crdt.Site, pact.MembersMax+1) }},
		{"/record", func(p *pact.Pact) { p.Record = "a.b" }},
		{"/limits", func(p *pact.Pact) { p.Limits.Registers = -1 }},
		{"/limits", func(p *pact.Pact) { p.Limits.BytesPerSecond = -1 }},
		{"/limits/history_days", func(p *pact.Pact) { p.Limits.HistoryDays = pact.HistoryNone - 1 }},
		{"/limits/history_days", func(p *pact.Pact) { p.Limits.HistoryDays = pact.HistoryDaysMax + 1 }},
		{"/delete/grant", func(p *pact.Pact) { p.Deletes = []crdt.Site{"umbrella"} }},
		{"/fields", func(p *pact.Pact) { p.Fields = nil }},
		{"/fields", func(p *pact.Pact) { p.Fields = make([]pact.Field, pact.FieldsMax+1) }},
		{"/fields", func(p *pact.Pact) { slices.Reverse(p.Fields) }},
		{"/fields/title/type", func(p *pact.Pact) { p.Fields[5].Type = "string" }},
		{"/fields/title/max", func(p *pact.Pact) { p.Fields[5].BytesMax = crdt.ValueBytesMax + 1 }},
		{"/fields/title/since", func(p *pact.Pact) { p.Fields[5].Since = math.MaxUint32 }},
		{"/fields/title/values", func(p *pact.Pact) { p.Fields[5].Values = []string{"a"} }},
		{"/fields/title/share", func(p *pact.Pact) { p.Fields[5].Share = []string{"email"} }},
		{"/fields/title/conflict", func(p *pact.Pact) { p.Fields[5].Conflict = "mine" }},
		{"/fields/status/values", func(p *pact.Pact) { p.Fields[4].Values = nil }},
		{"/fields/status/values", func(p *pact.Pact) { p.Fields[4].Values = []string{"new", "new"} }},
		{"/fields/status/default", func(p *pact.Pact) { p.Fields[4].Default = "old" }},
		{"/fields/effort/pattern", func(p *pact.Pact) { p.Fields[1].Pattern = "(" }},
		{"/fields/impact_note/writers", func(p *pact.Pact) { p.Fields[2].Writers = []crdt.Site{"umbrella"} }},
	} {
		p := sample()
		c.change(p)
		if !slices.ContainsFunc(p.Problems(), func(q pact.Problem) bool { return q.Path == c.path }) {
			t.Errorf("%s: no problem there, but %v", c.path, p.Problems())
		}
	}
	if err := sample().Validate(); err != nil {
		t.Error(err)
	}
}

func TestCheckValue(t *testing.T) {
	decimal, _ := value.ParseDecimal("1.5")
	comment := map[string]value.Value{
		"parent": value.Bytes(make([]byte, 16)), "at": value.Millis(1), "body": value.Text("hi"), "internal": value.Bool(false),
		"author": value.Map(map[string]value.Value{"name": value.Text("Ann")}),
	}
	by := func(author map[string]value.Value) value.Value {
		m := maps.Clone(comment)
		m["author"] = value.Map(author)
		return value.Map(m)
	}
	ann := value.Text("Ann")
	for _, c := range []struct {
		field pact.Field
		v     value.Value
		fits  bool
	}{
		{pact.Field{Type: pact.TypeComments}, by(map[string]value.Value{"name": ann, "email": value.Text("ann@example.com")}), true},
		{pact.Field{Type: pact.TypeComments}, by(map[string]value.Value{"name": ann, "email": value.Int(1)}), false},
		{pact.Field{Type: pact.TypeComments}, by(map[string]value.Value{"name": ann, "phone": value.Text("1")}), false},
		{pact.Field{Type: pact.TypeComments}, by(map[string]value.Value{"email": value.Text("ann@example.com")}), false},
		{pact.Field{Type: pact.TypeText}, value.Text("x"), true},
		{pact.Field{Type: pact.TypeText}, value.Null(), true},
		{pact.Field{Type: pact.TypeText, Required: true}, value.Null(), false},
		{pact.Field{Type: pact.TypeText}, value.Int(1), false},
		{pact.Field{Type: pact.TypeText, BytesMax: 2}, value.Text("abc"), false},
		{pact.Field{Type: pact.TypeText, Pattern: "^a$"}, value.Text("b"), false},
		{pact.Field{Type: pact.TypeEnum, Values: []string{"a"}}, value.Text("a"), true},
		{pact.Field{Type: pact.TypeEnum, Values: []string{"a"}}, value.Text("b"), false},
		{pact.Field{Type: pact.TypeNumber}, value.Int(1), true},
		{pact.Field{Type: pact.TypeNumber}, decimal, false},
		{pact.Field{Type: pact.TypeDecimal}, decimal, true},
		{pact.Field{Type: pact.TypePerson}, value.Text("ann@example.com"), true},
		{pact.Field{Type: pact.TypePerson}, value.Text("Ann@example.com"), false},
		{pact.Field{Type: pact.TypeComments}, value.Map(comment), true},
		{pact.Field{Type: pact.TypeComments}, value.Map(nil), false},
		{pact.Field{Type: pact.TypeComments, BytesMax: 1}, value.Map(comment), false},
		{pact.Field{Type: "blob"}, value.Text("x"), false},
	} {
		err := pact.CheckValue(&c.field, c.v)
		if (err == nil) != c.fits {
			t.Errorf("%+v holds %s: %v", c.field, c.v, err)
		}
		if err != nil && c.field.Type != pact.TypeEnum && c.v.AsText() != "" && strings.Contains(err.Error(), c.v.AsText()+`"`) {
			t.Errorf("the error repeats the value: %v", err)
		}
	}
}

func BenchmarkCheckOp(b *testing.B) {
	p := sample()
	op := &crdt.Op{Key: crdt.Key{Pact: "ops", Type: "ticket", Field: "status"}, PactVersion: 3, Author: crdt.Author{Site: "globex"}}
	b.ReportAllocs()
	for b.Loop() {
		if p.CheckOp("globex", op) != "" {
			b.Fatal("refused")
		}
	}
}
