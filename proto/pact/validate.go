package pact

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

// Limits of a pact's parts.
const (
	FieldsMax       = 256
	MembersMax      = 64
	EnumValuesMax   = 1024
	EnumBytesMax    = 255
	PatternBytesMax = 1024
)

// ErrInvalid is wrapped by every error of Validate.
var ErrInvalid = errors.New("invalid pact")

// Problem is one fault of a pact, at a path such as "/fields/status/values".
type Problem struct {
	Path    string
	Message string
}

// Types lists every field type, in the order of their declaration.
func Types() []FieldType {
	return []FieldType{
		TypeText, TypeRichText, TypeEnum, TypeNumber, TypeDecimal, TypeBool,
		TypeDate, TypeDateTime, TypePerson, TypeTextSet, TypeComments,
	}
}

// Validate reports the first problem.
func (p *Pact) Validate() error {
	if all := p.Problems(); len(all) > 0 {
		return fmt.Errorf("%w: %s: %s", ErrInvalid, all[0].Path, all[0].Message)
	}
	return nil
}

// Problems lists every fault, in the order of the declaration; none means that
// the pact can be put in force.
func (p *Pact) Problems() []Problem {
	var c collector
	if _, err := crdt.ParsePact(string(p.Name)); err != nil || strings.HasPrefix(string(p.Name), "~") {
		c.add("/metadata/name", "%q is no pact name: lower-case letters, digits, inner hyphens", clip(string(p.Name)))
	}
	if p.Version == 0 {
		c.add("/metadata/version", "versions begin at 1")
	}
	if len(p.Members) < 2 || len(p.Members) > MembersMax {
		c.add("/members", "%d members; a pact has 2 to %d", len(p.Members), MembersMax)
	}
	for _, site := range p.Members {
		if _, err := crdt.ParseSite(string(site)); err != nil {
			c.add("/members", "%q is no site name: lower-case letters, digits, inner hyphens", clip(string(site)))
		}
	}
	unique(&c, "/members", p.Members)
	if !isWord(string(p.Record)) || strings.Contains(string(p.Record), ".") {
		c.add("/record", "%q is no record type: lower-case letters, digits, '_' and '-'", clip(string(p.Record)))
	}
	c.sites(p, "/delete/grant", p.Deletes)
	c.limits(p.Limits)
	if len(p.Fields) == 0 || len(p.Fields) > FieldsMax {
		c.add("/fields", "%d fields; a pact has 1 to %d", len(p.Fields), FieldsMax)
	}
	for i := range p.Fields {
		if i > 0 && p.Fields[i].Name <= p.Fields[i-1].Name {
			c.add("/fields", "fields are not sorted by unique names at %q", clip(string(p.Fields[i].Name)))
		}
		c.field(p, &p.Fields[i])
	}
	return c.problems
}

type collector struct{ problems []Problem }

func (c *collector) add(path, format string, args ...any) {
	c.problems = append(c.problems, Problem{path, fmt.Sprintf(format, args...)})
}

func (c *collector) limits(l Limits) {
	for _, n := range []int{l.OpsPerSecond, l.BytesPerSecond, l.Records, l.Registers} {
		if n < 0 || n > math.MaxInt32 {
			c.add("/limits", "%d is no limit: 0 to %d, where 0 is the hub's own", n, math.MaxInt32)
		}
	}
	if l.HistoryDays < HistoryNone || l.HistoryDays > HistoryDaysMax {
		c.add("/limits/history_days", "%d days; history is kept for 0 to %d days", l.HistoryDays, HistoryDaysMax)
	}
}

// sites checks a list of members.
func (c *collector) sites(p *Pact, path string, sites []crdt.Site) {
	for _, site := range sites {
		if !p.IsMember(site) {
			c.add(path, "%q is no member", clip(string(site)))
		}
	}
	unique(c, path, sites)
}

func unique[S ~string](c *collector, path string, names []S) {
	names = sorted(names)
	for i := 1; i < len(names); i++ {
		if names[i] == names[i-1] {
			c.add(path, "%q is listed twice", clip(string(names[i])))
		}
	}
}

func (c *collector) field(p *Pact, f *Field) {
	path := "/fields/" + string(f.Name)
	if !isWord(string(f.Name)) {
		c.add("/fields", "%q is no field name: lower-case letters, digits, '_' and '-', at most %d bytes",
			clip(string(f.Name)), crdt.NameBytesMax)
		return
	}
	if !slices.Contains(Types(), f.Type) {
		c.add(path+"/type", "unknown type %q", clip(string(f.Type)))
		return
	}
	if f.Type == TypeComments && len(p.CommentsType(f.Name)) > crdt.TypeBytesMax {
		c.add(path, "%q is longer than %d bytes", p.CommentsType(f.Name), crdt.TypeBytesMax)
	}
	c.sites(p, path+"/writers", f.Writers)
	c.enum(path, f)
	if f.BytesMax < 0 || f.BytesMax > crdt.ValueBytesMax || f.BytesMax > 0 && !isText(f.Type) {
		c.add(path+"/max", "only texts have a limit, of 1 to %d bytes", crdt.ValueBytesMax)
	}
	if f.Since > p.Version {
		c.add(path+"/since", "version %d is after the pact's version %d", f.Since, p.Version)
	}
	switch f.Conflict {
	case "", PolicyNewest, PolicyAsk, PolicyMerge:
	default:
		c.add(path+"/conflict", "unknown policy %q: newest, ask or merge", clip(string(f.Conflict)))
	}
	if slices.ContainsFunc(f.Share, func(s string) bool { return s != "email" }) || len(f.Share) > 0 && f.Type != TypePerson {
		c.add(path+"/share", "only a person has it, and only email may be shared")
	}
	unique(c, path+"/share", f.Share)
	c.pattern(path, f)
}

func (c *collector) enum(path string, f *Field) {
	if f.Type != TypeEnum {
		if len(f.Values) > 0 {
			c.add(path+"/values", "only an enum has values")
		}
		return
	}
	if len(f.Values) == 0 || len(f.Values) > EnumValuesMax {
		c.add(path+"/values", "%d values; an enum has 1 to %d", len(f.Values), EnumValuesMax)
	}
	for _, v := range f.Values {
		if v == "" || len(v) > EnumBytesMax {
			c.add(path+"/values", "a value has 1 to %d bytes", EnumBytesMax)
		}
	}
	unique(c, path+"/values", f.Values)
}

func (c *collector) pattern(path string, f *Field) {
	if f.Pattern != "" {
		if !isText(f.Type) || len(f.Pattern) > PatternBytesMax {
			c.add(path+"/pattern", "only texts have a pattern, of at most %d bytes", PatternBytesMax)
		}
		if _, err := regexp.Compile(f.Pattern); err != nil {
			c.add(path+"/pattern", "%s", err)
			return
		}
	}
	if f.Default == "" {
		return
	}
	if f.Type != TypeEnum && f.Type != TypeText && f.Type != TypeRichText {
		c.add(path+"/default", "only texts and enums have a default")
	} else if err := CheckValue(f, value.Text(f.Default)); err != nil {
		c.add(path+"/default", "the default does not fit: %s", err)
	}
}

func isText(t FieldType) bool {
	return t == TypeText || t == TypeRichText || t == TypeTextSet
}

// isWord reports whether s is 1..63 bytes of [a-z0-9_-].
func isWord(s string) bool {
	if s == "" || len(s) > crdt.NameBytesMax {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
