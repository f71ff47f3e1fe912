package sim

import (
	"embed"
	"fmt"
	"path"

	"github.com/entente-sync/entente/agent/binding"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/pact/pactfile"
	"github.com/entente-sync/entente/proto/yamlfile"
)

//go:embed world/*.yaml
var files embed.FS

// pactName is the one pact of every world.
const pactName crdt.Pact = "tickets"

// vocabulary is one kind of system: its fields, and what people put in them.
type vocabulary struct {
	file                                      string
	title, description, status, priority, due string
	private                                   string // bound to nothing
	statuses                                  []value.Value
	priorities                                []value.Value
	stray                                     value.Value // a priority that no table has
	schema                                    []connectors.FieldSchema
}

func texts(all ...string) (out []value.Value) {
	for _, s := range all {
		out = append(out, value.Text(s))
	}
	return out
}

func enum(name string, values ...string) connectors.FieldSchema {
	return connectors.FieldSchema{Name: name, Kind: connectors.FieldEnum, Values: values}
}

func field(name string, kind connectors.FieldKind) connectors.FieldSchema {
	return connectors.FieldSchema{Name: name, Kind: kind}
}

func vocabularies() []*vocabulary {
	return []*vocabulary{
		{
			file: "tracker.yaml", title: "title", description: "description", status: "status", priority: "priority",
			due: "due", private: "notes", statuses: texts("new", "open", "waiting", "done"),
			priorities: texts("low", "normal", "high"), stray: value.Text("urgent"),
			schema: []connectors.FieldSchema{
				{Name: "title", Kind: connectors.FieldText, Required: true},
				field("description", connectors.FieldRichText),
				enum("status", "new", "open", "waiting", "done"), enum("priority", "low", "normal", "high", "urgent"),
				field("due", connectors.FieldDate), field("notes", connectors.FieldText),
			},
		},
		{
			file: "desk.yaml", title: "subject", description: "details", status: "state", priority: "level",
			due: "deadline", private: "memo", statuses: texts("Open", "Pending", "On hold", "Solved"),
			priorities: []value.Value{value.Int(1), value.Int(2), value.Int(3), value.Int(4)}, stray: value.Int(9),
			schema: []connectors.FieldSchema{
				{Name: "subject", Kind: connectors.FieldText, Required: true},
				field("details", connectors.FieldRichText),
				enum("state", "Open", "Pending", "On hold", "Solved"), field("level", connectors.FieldNumber),
				field("deadline", connectors.FieldDate), field("memo", connectors.FieldText),
			},
		},
		{
			file: "board.yaml", title: "name", description: "text", status: "column", priority: "flag",
			due: "until", private: "scratch", statuses: texts("Inbox", "Triage", "Doing", "Parked", "Done"),
			priorities: texts("red", "none", "blue"), stray: value.Text("pink"),
			schema: []connectors.FieldSchema{
				{Name: "name", Kind: connectors.FieldText, Required: true},
				field("text", connectors.FieldRichText),
				enum("column", "Inbox", "Triage", "Doing", "Parked", "Done"), enum("flag", "red", "none", "blue", "pink"),
				field("until", connectors.FieldDate), field("scratch", connectors.FieldText), field("lane", connectors.FieldText),
			},
		},
	}
}

// agreed is what all worlds share: the pact, and each vocabulary's binding. It
// is immutable.
type agreed struct {
	pact     *pact.Pact
	document []byte
	bindings []*binding.Binding
}

func load() (*agreed, error) {
	read := func(name string) ([]byte, error) { return files.ReadFile(path.Join("world", name)) }
	src, err := read("pact.yaml")
	if err != nil {
		return nil, err
	}
	p, findings := pactfile.Load("pact.yaml", src)
	if len(findings) > 0 {
		return nil, yamlfile.Err(findings)
	}
	a := &agreed{pact: p, document: p.Encode()}
	for _, v := range vocabularies() {
		if src, err = read(v.file); err != nil {
			return nil, err
		}
		b, findings := binding.Load(v.file, src, p)
		if len(findings) > 0 {
			return nil, fmt.Errorf("%s: %w", v.file, yamlfile.Err(findings))
		}
		a.bindings = append(a.bindings, b)
	}
	return a, nil
}
