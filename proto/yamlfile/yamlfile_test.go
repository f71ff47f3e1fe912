package yamlfile_test

import (
	"strings"
	"testing"
	"time"

	"github.com/entente-sync/entente/proto/yamlfile"
)

type config struct {
	Name    string            `yaml:"name,required"`
	Port    uint16            `yaml:"port"`
	Ratio   float64           `yaml:"ratio"`
	On      bool              `yaml:"on"`
	Every   time.Duration     `yaml:"every"`
	Systems []system          `yaml:"systems"`
	Scope   map[string]string `yaml:"scope"`
	Any     yamlfile.Node     `yaml:"any"`
	Nested  *system           `yaml:"nested"`
	hidden  int
}

type system struct {
	URL string `yaml:"url"`
}

const header = "apiVersion: entente/v1\nkind: Agent\n"

func TestLoad(t *testing.T) {
	var c config
	d, findings := yamlfile.Load("a.yaml", []byte(header+`
name: one
port: 7000
ratio: 2
on: true
every: 30s
systems: [{url: "http://x"}, {url: 'y'}]
scope: {project: OPS}
any: {b: 1, a: [x, 2.5]}
nested: {url: z}
`), "Agent", &c)
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	if c.Name != "one" || c.Port != 7000 || c.Ratio != 2 || !c.On || c.Every != 30*time.Second ||
		len(c.Systems) != 2 || c.Systems[1].URL != "y" || c.Scope["project"] != "OPS" || c.Nested.URL != "z" || c.hidden != 0 {
		t.Errorf("%+v", c)
	}
	entries := c.Any.Entries()
	if len(entries) != 2 || entries[0].Key != "b" || entries[1].Value.Items()[1].Path != "/any/a/1" {
		t.Errorf("%+v", entries)
	}
	if v, ok := entries[1].Value.Items()[1].Scalar(); !ok || v != 2.5 {
		t.Errorf("%v", v)
	}
	if at := d.At("/systems/1/url/none"); at != (yamlfile.Position{Line: 9, Column: 36}) {
		t.Errorf("at %v", at)
	}
}

func TestFindings(t *testing.T) {
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	for _, c := range []struct{ src, want string }{
		{"", `a.yaml:1:1: yaml.empty: the file is empty`},
		{"# only a comment\n", `a.yaml:1:1: yaml.empty: the file is empty`},
		{"name: [", `a.yaml:1:1: yaml.syntax: `},
		{"a: b: c", `a.yaml:1:1: yaml.syntax: mapping values are not allowed in this context`},
		{"- a", `a.yaml:1:1: yaml.type: the file is no mapping of keys to values`},
		{"name: x", `a.yaml:1:1: yaml.header: apiVersion is missing (add apiVersion: entente/v1)`},
		{"apiVersion: entente/v2\nkind: Agent\nname: x", `a.yaml:1:13: yaml.header: /apiVersion: apiVersion is "entente/v2" (want apiVersion: entente/v1)`},
		{"apiVersion: entente/v1\nkind: Agnt\nname: x", `a.yaml:2:7: yaml.header: /kind: kind is "Agnt" (want kind: Agent)`},
		{header + "name: x\nprot: 1", `a.yaml:4:1: yaml.unknown_key: /prot: unknown key "prot" (did you mean "port"?)`},
		{header + "name: x\nsystems:\n  - ulr: y", `a.yaml:5:5: yaml.unknown_key: /systems/0/ulr: unknown key "ulr" (did you mean "url"?)`},
		{header + "name: x\nname: y", `a.yaml:4:1: yaml.duplicate_key: /name: the key "name" is also in line 3 (keep one of them)`},
		{header + "name: 12", `a.yaml:3:7: yaml.type: /name: is a number, want text (quote it)`},
		{header + "name: [x]", `a.yaml:3:1: yaml.type: /name: is a list, want a single value`},
		{header + "name:", `yaml.null: /name: has no value (give a value or remove the key)`},
		{header + "port: 1", `a.yaml:1:1: yaml.missing_key: lacks the key "name"`},
		{header + "name: x\nport: 70000", `a.yaml:4:7: yaml.range: /port: the number is out of range`},
		{header + "name: x\nport: -1", `a.yaml:4:7: yaml.range: /port: the number is out of range`},
		{header + "name: x\nport: 1.5", `a.yaml:4:7: yaml.type: /port: is a number, want a whole number`},
		{header + "name: x\non: yes", `a.yaml:4:5: yaml.type: /on: is text, want a boolean (true or false)`},
		{header + "name: x\nevery: 30", `a.yaml:4:8: yaml.type: /every: is no duration (write it with a unit: "30s", "5m", "1h")`},
		{header + "name: x\nsystems: {url: y}", `a.yaml:4:1: yaml.type: /systems: is a mapping, want a list`},
		{header + "name: &n x", `a.yaml:3:7: yaml.alias: /name: anchors and aliases are not read (write the value out)`},
		{header + "name: !!str 12", `a.yaml:3:7: yaml.tag: /name: tags such as !!str are not read (quote the value if it is text)`},
		{header + "? [a]\n: b", `a.yaml:3:3: yaml.key: /?: a key is a plain word or text`},
		{header + "name: x\n---\nname: y", `a.yaml:4:1: yaml.documents: a second document begins here (one file, one document)`},
		{header + "name: x\nany: " + deep, `yaml.depth: /any/0`},
		{strings.Repeat("#", yamlfile.BytesMax+1), `a.yaml:1:1: yaml.size: the file has 1048577 bytes, limit 1048576`},
	} {
		var out config
		_, findings := yamlfile.Load("a.yaml", []byte(c.src), "Agent", &out)
		if err := yamlfile.Err(findings); err == nil || !strings.Contains(err.Error(), c.want) {
			src := c.src[:min(len(c.src), 80)]
			t.Errorf("%q\n got %v\nwant %s", src, err, c.want)
		}
	}
}

func TestAliasBombIsRefusedAtOnce(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for i := byte('1'); i <= '9'; i++ {
		one := "*a" + string(i-1)
		b.WriteString("a" + string(i) + ": &a" + string(i) + " [" + strings.Repeat(one+",", 8) + one + "]\n")
	}
	if _, findings := yamlfile.Parse("bomb.yaml", []byte(b.String())); len(findings) == 0 || findings[0].Code != "yaml.alias" {
		t.Errorf("%v", findings)
	}
}

func TestInner(t *testing.T) {
	d, findings := yamlfile.Parse("a.yaml", []byte("plain: abc\nquoted: 'abc'\nblock: |\n  abc\n  def\n"))
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	for _, c := range []struct {
		key          string
		line, column int
		want         yamlfile.Position
	}{
		{"plain", 1, 2, yamlfile.Position{Line: 1, Column: 10}},
		{"quoted", 1, 2, yamlfile.Position{Line: 2, Column: 12}},
		{"block", 2, 1, yamlfile.Position{Line: 5, Column: 4}},
		{"block", -1, -1, yamlfile.Position{Line: 3, Column: 8}},
	} {
		n, _ := d.Root().Get(c.key)
		if got := n.Inner(c.line, c.column); got != c.want {
			t.Errorf("%s %d:%d is at %v, want %v", c.key, c.line, c.column, got, c.want)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"title", "status", "priority"}
	for word, want := range map[string]string{
		"tilte": `did you mean "title"?`, "Status": `did you mean "status"?`, "prioritty": `did you mean "priority"?`,
		"zzz": "known: priority, status, title",
	} {
		if got := yamlfile.DidYouMean(word, known); got != want {
			t.Errorf("%s: %s, want %s", word, got, want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(header + "name: x\nsystems: [{url: y}]\nany: {a: [1, 2]}\n"))
	f.Add([]byte("a: &a [*a]\n---\n? {b: c}\n: !!int 0x_\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		var out config
		d, findings := yamlfile.Load("a.yaml", src, "Agent", &out)
		if d == nil && len(findings) == 0 {
			t.Fatal("no document and no finding")
		}
		for _, x := range findings {
			if x.Line < 1 || x.Column < 1 || x.File == "" || x.Code == "" {
				t.Fatalf("%+v names no place", x)
			}
		}
	})
}
