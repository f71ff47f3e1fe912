// Package pactfile reads a pact from its YAML file.
package pactfile

import (
	"slices"
	"strings"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/yamlfile"
)

// Kind is what a pact's file states as its kind.
const Kind = "Pact"

type file struct {
	Metadata struct {
		Name    crdt.Pact `yaml:"name,required"`
		Version uint32    `yaml:"version,required"`
	} `yaml:"metadata,required"`
	Members []crdt.Site `yaml:"members,required"`
	Record  crdt.Type   `yaml:"record,required"`
	Delete  struct {
		Grant []crdt.Site `yaml:"grant,required"`
	} `yaml:"delete"`
	Limits limits           `yaml:"limits"`
	Fields map[string]field `yaml:"fields,required"`
}

type limits struct {
	OpsPerSecond   int `yaml:"ops_per_second"`
	BytesPerSecond int `yaml:"bytes_per_second"`
	Records        int `yaml:"records"`
	Registers      int `yaml:"registers"`
	HistoryDays    int `yaml:"history_days"`
}

type field struct {
	Type     pact.FieldType `yaml:"type,required"`
	Values   []string       `yaml:"values"`
	Writer   crdt.Site      `yaml:"writer"`
	Writers  []crdt.Site    `yaml:"writers"`
	Max      int            `yaml:"max"`
	Required bool           `yaml:"required"`
	Default  string         `yaml:"default"`
	Pattern  string         `yaml:"pattern"`
	Conflict pact.Policy    `yaml:"conflict"`
	Share    []string       `yaml:"share"`
	Since    uint32         `yaml:"since"`
}

// Load reads one pact; src is the content of the file called name. The pact is
// valid, and nil if there are findings. Delete rights that are not granted are
// nobody's; a field without writers may be written by every member.
func Load(name string, src []byte) (*pact.Pact, []yamlfile.Finding) {
	var in file
	doc, findings := yamlfile.Load(name, src, Kind, &in)
	if len(findings) > 0 {
		return nil, findings
	}
	p := &pact.Pact{
		Name:    in.Metadata.Name,
		Version: in.Metadata.Version,
		Members: in.Members,
		Record:  in.Record,
		Deletes: in.Delete.Grant,
		Limits:  in.Limits.limits(doc),
	}
	for name, f := range in.Fields {
		p.Fields = append(p.Fields, f.field(doc, name))
	}
	slices.SortFunc(p.Fields, func(a, b pact.Field) int { return strings.Compare(string(a.Name), string(b.Name)) })
	for _, problem := range p.Problems() {
		doc.Fail("pact.invalid", problem.Path, suggest(p, problem.Path), "%s", problem.Message)
	}
	if findings = doc.Findings(); len(findings) > 0 {
		return nil, findings
	}
	return p, nil
}

// limits tells "history_days: 0", which keeps none, from no such key, which
// leaves it to the hub.
func (l limits) limits(doc *yamlfile.Document) pact.Limits {
	out := pact.Limits(l)
	switch _, stated := doc.Get("/limits/history_days"); {
	case l.HistoryDays < 0:
		out.HistoryDays = 0
		doc.Fail("pact.invalid", "/limits/history_days", "0 keeps no history", "%d days", l.HistoryDays)
	case stated && l.HistoryDays == 0:
		out.HistoryDays = pact.HistoryNone
	}
	return out
}

func (f field) field(doc *yamlfile.Document, name string) pact.Field {
	path := yamlfile.Join("/fields", name)
	writers := f.Writers
	_, single := doc.Get(path + "/writer")
	list, listed := doc.Get(path + "/writers")
	switch {
	case single && listed:
		doc.Fail("pact.writers", path+"/writer", "keep one of them", "writer and writers are both given")
	case single:
		writers = []crdt.Site{f.Writer}
	case listed && len(writers) == 0:
		list.Fail("pact.writers", "remove the key to let every member write", "nobody could write this field")
	}
	if f.Type == pact.TypePerson && len(f.Share) == 0 {
		doc.Fail("pact.person", path, "state share: [email]",
			"a person needs share: [email]: person tokens are not available yet, so what travels is the e-mail address")
	}
	if f.Conflict == "" {
		f.Conflict = pact.PolicyNewest
	}
	return pact.Field{
		Name: crdt.Field(name), Type: f.Type, Values: f.Values, Writers: writers, BytesMax: f.Max, Required: f.Required,
		Default: f.Default, Pattern: f.Pattern, Conflict: f.Conflict, Share: f.Share, Since: f.Since,
	}
}

// suggest proposes the nearest known word for what stands at path.
func suggest(p *pact.Pact, path string) string {
	rest, inField := strings.CutPrefix(path, "/fields/")
	name, part, _ := strings.Cut(rest, "/")
	f, ok := p.Field(crdt.Field(name))
	if !inField || !ok {
		return ""
	}
	switch part {
	case "type":
		var types []string
		for _, t := range pact.Types() {
			types = append(types, string(t))
		}
		return yamlfile.DidYouMean(string(f.Type), types)
	case "default":
		if f.Type == pact.TypeEnum {
			return yamlfile.DidYouMean(f.Default, f.Values)
		}
	case "conflict":
		return yamlfile.DidYouMean(string(f.Conflict), []string{string(pact.PolicyNewest), string(pact.PolicyAsk), string(pact.PolicyMerge)})
	case "writers":
		for _, site := range f.Writers {
			if !p.IsMember(site) {
				var members []string
				for _, m := range p.Members {
					members = append(members, string(m))
				}
				return yamlfile.DidYouMean(string(site), members)
			}
		}
	}
	return ""
}
