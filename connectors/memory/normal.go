package memory

import (
	"strings"
	"time"

	"github.com/entente-sync/entente/crdt/value"
)

// normal is v as the system stores it in field. An emptied text is null, as in
// most ticket systems.
func (s *System) normal(field string, v value.Value) value.Value {
	for _, f := range s.faults {
		if f.concerns(Normalise, "", "", field) {
			v = f.Form.apply(v)
		}
	}
	if v.Kind() == value.KindText && v.AsText() == "" {
		return value.Null()
	}
	return v
}

func (f Form) apply(v value.Value) value.Value {
	switch v.Kind() {
	case value.KindText:
		return value.Text(f.text(v.AsText()))
	case value.KindList:
		list := make([]value.Value, v.Len())
		for i := range list {
			list[i] = f.apply(v.At(i))
		}
		return value.List(list...)
	case value.KindDecimal:
		if whole, _, _ := strings.Cut(v.AsDecimal(), "."); f == FormRound {
			v, _ = value.ParseDecimal(whole)
		}
	case value.KindTime:
		if f == FormRound {
			return value.Time(v.AsTime().Truncate(time.Minute))
		}
	}
	return v
}

func (f Form) text(t string) string {
	switch f {
	case FormTrim:
		return strings.TrimSpace(t)
	case FormLF:
		return strings.ReplaceAll(t, "\r\n", "\n")
	case FormCRLF:
		return strings.ReplaceAll(strings.ReplaceAll(t, "\r\n", "\n"), "\n", "\r\n")
	case FormFold:
		return strings.ToLower(t)
	case FormMarkup:
		t = strings.ReplaceAll(t, "**", "__")
		return strings.ReplaceAll("\n"+t, "\n* ", "\n- ")[1:]
	}
	return t
}
