package dev

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
)

// user is a person at a sandbox's HTTP API, spoken by hand so that it shares
// nothing with the connector.
type user struct {
	name, token, url string

	cursor string            // where the listing goes on
	shown  map[string]ticket // as last looked at, by key
}

// ticket is what the API shows of one ticket.
type ticket struct {
	Key         string          `json:"key"`
	Correlation string          `json:"correlation"`
	Fields      map[string]text `json:"fields"`
	Deleted     bool            `json:"deleted"`
	Comments    []comment       `json:"comments"`
}

type comment struct {
	Author struct {
		Name string `json:"name"`
	} `json:"author"`
	Body     string `json:"body"`
	Internal bool   `json:"internal"`
}

// text is a field as text; lists, which this world does not share, are "".
type text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '"' {
		*t = ""
		return nil
	}
	return json.Unmarshal(b, (*string)(t))
}

func newUser(s *Side) *user {
	return &user{name: s.people[0], token: s.Token, url: s.URL, shown: map[string]ticket{}}
}

const bodyBytesMax = 4 << 20

func (u *user) call(ctx context.Context, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, u.url+"/api/v1/tickets"+path, &body)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+u.token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, bodyBytesMax))
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: HTTP %d: %s", method, path, resp.StatusCode, bytes.TrimSpace(answer))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

type fieldsOf map[string]string

func (u *user) create(ctx context.Context, fields fieldsOf) (key string, err error) {
	var out struct {
		Key string `json:"key"`
	}
	err = u.call(ctx, http.MethodPost, "", map[string]any{"fields": fields}, &out)
	return out.Key, err
}

func (u *user) edit(ctx context.Context, key string, fields fieldsOf) error {
	return u.call(ctx, http.MethodPatch, "/"+url.PathEscape(key), map[string]any{"fields": fields}, nil)
}

func (u *user) comment(ctx context.Context, key, body string, internal bool) error {
	return u.call(ctx, http.MethodPost, "/"+url.PathEscape(key)+"/comments", map[string]any{"body": body, "internal": internal}, nil)
}

func (u *user) remove(ctx context.Context, key string) error {
	return u.call(ctx, http.MethodDelete, "/"+url.PathEscape(key), nil, nil)
}

// look brings shown up to date.
func (u *user) look(ctx context.Context) error {
	for {
		var page struct {
			Tickets []ticket `json:"tickets"`
			Next    string   `json:"next"`
			More    bool     `json:"more"`
		}
		if err := u.call(ctx, http.MethodGet, "?since="+url.QueryEscape(u.cursor), nil, &page); err != nil {
			return err
		}
		for _, ref := range page.Tickets {
			var t ticket
			if err := u.call(ctx, http.MethodGet, "/"+url.PathEscape(ref.Key), nil, &t); err != nil {
				return err
			}
			u.shown[t.Key] = t
		}
		if u.cursor = page.Next; !page.More {
			return nil
		}
	}
}

// live returns the tickets that are not deleted, by key.
func (u *user) live() []ticket {
	var out []ticket
	for _, t := range u.shown {
		if !t.Deleted {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b ticket) int { return compareKeys(a.Key, b.Key) })
	return out
}

// compareKeys orders keys as the numbers that they are.
func compareKeys(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return bytes.Compare([]byte(a), []byte(b))
}
