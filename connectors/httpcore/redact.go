package httpcore

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

const (
	messageRunesMax  = 300
	redactedBytesMin = 3 // shorter values say nothing and would shred the message
)

// words extracts what a system says of its refusal from the usual places of a
// JSON answer. Pages and other bodies say nothing.
func words(r *Response) string {
	var body map[string]any
	if r.Decode(&body) != nil {
		return ""
	}
	for _, name := range []string{"message", "error", "errors", "errorMessages", "detail", "title", "description"} {
		if text := flatten(body[name]); text != "" {
			return text
		}
	}
	return ""
}

func flatten(v any) string {
	var parts []string
	switch v := v.(type) {
	case string:
		return v
	case []any:
		for _, e := range v {
			parts = append(parts, flatten(e))
		}
	case map[string]any:
		for name, e := range v {
			if text := flatten(e); text != "" {
				parts = append(parts, name+": "+text)
			}
		}
		slices.Sort(parts)
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "; ")
}

// redact removes the credential and whatever the request itself carried from
// text, makes it one line, and clips it.
func (c *Client) redact(r Request, text string) string {
	if text == "" {
		return ""
	}
	for _, s := range c.secrets() {
		text = strings.ReplaceAll(text, s, "***")
	}
	for _, s := range carried(r) {
		text = strings.ReplaceAll(text, s, "…")
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > messageRunesMax {
		text = string(runes[:messageRunesMax]) + "…"
	}
	return text
}

// secrets are the forms in which the credential may be echoed.
func (c *Client) secrets() []string {
	secret := c.cfg.Settings.Credential.Reveal()
	if secret == "" {
		return nil
	}
	forms := []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), url.QueryEscape(secret)}
	if _, password, ok := strings.Cut(secret, ":"); ok && len(password) >= redactedBytesMin {
		forms = append(forms, password)
	}
	return forms
}

// carried lists the texts that a request sends as values, longest first.
func carried(r Request) []string {
	var texts []string
	keep := func(s string) {
		if s = strings.TrimSpace(s); len(s) >= redactedBytesMin {
			texts = append(texts, s)
		}
	}
	for _, values := range r.Query {
		for _, s := range values {
			keep(s)
		}
	}
	if raw, ok := r.Body.([]byte); ok {
		keep(string(raw))
	}
	if b, err := json.Marshal(r.Body); err == nil && r.Body != nil {
		var v any
		if DecodeJSON(b, &v) == nil {
			walk(v, keep)
		}
	}
	slices.SortFunc(texts, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(texts)
}

func walk(v any, keep func(string)) {
	switch v := v.(type) {
	case string:
		keep(v)
	case []any:
		for _, e := range v {
			walk(e, keep)
		}
	case map[string]any:
		for _, e := range v {
			walk(e, keep)
		}
	case json.Number:
		keep(v.String())
	}
}
