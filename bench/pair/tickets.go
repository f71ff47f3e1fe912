package pair

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Ticket is one ticket as a person sees it in either system, in the pact's
// words, so that both sides can be compared.
type Ticket struct {
	Key                                  string
	Title, Description, Status, Priority string
	// Comments are public comments without bylines, oldest first; Internal ones
	// apart.
	Comments, Internal []string
	// ServiceWrites counts the entries of the system's own history that our service
	// account made.
	ServiceWrites int
}

var (
	redmineStatus   = map[string]string{"New": "new", "In Progress": "in_progress", "Feedback": "waiting", "Resolved": "resolved", "Closed": "closed", "Rejected": "closed"}
	redminePriority = map[string]string{"Low": "low", "Normal": "normal", "High": "high", "Urgent": "urgent", "Immediate": "urgent"}
	rtStatus        = map[string]string{"new": "new", "open": "in_progress", "stalled": "waiting", "resolved": "resolved", "rejected": "closed"}
	rtPriority      = map[string]string{"0": "low", "25": "normal", "50": "high", "75": "urgent", "100": "urgent"}
)

// Issues returns Acme's issues, with comments and writes if deep.
func (p *Pair) Issues(ctx context.Context, deep bool) ([]Ticket, error) {
	rows, err := p.Redmine.Issues(ctx, p.Redmine.Human)
	if err != nil {
		return nil, err
	}
	var out []Ticket
	for _, row := range rows {
		t := Ticket{
			Key: number(row["id"]), Title: text(row["subject"]), Description: lines(text(row["description"])),
			Status: redmineStatus[name(row["status"])], Priority: redminePriority[name(row["priority"])],
		}
		if deep {
			if err := p.journals(ctx, &t); err != nil {
				return nil, err
			}
		}
		out = append(out, t)
	}
	return out, nil
}

func (p *Pair) journals(ctx context.Context, t *Ticket) error {
	issue, err := p.Redmine.Issue(ctx, p.Redmine.Human, t.Key)
	if err != nil {
		return err
	}
	if name(issue["author"]) == p.Redmine.Service.Name {
		t.ServiceWrites++
	}
	for _, j := range list(issue["journals"]) {
		if name(j["user"]) == p.Redmine.Service.Name {
			t.ServiceWrites++
		}
		switch note := lines(text(j["notes"])); {
		case note == "":
		case j["private_notes"] == true:
			t.Internal = append(t.Internal, note)
		default:
			t.Comments = append(t.Comments, note)
		}
	}
	return nil
}

// Tickets returns Globex's tickets, with comments and writes if deep.
func (p *Pair) Tickets(ctx context.Context, deep bool) ([]Ticket, error) {
	rows, err := p.RT.Tickets(ctx, p.RT.Human)
	if err != nil {
		return nil, err
	}
	var out []Ticket
	for _, row := range rows {
		t := Ticket{
			Key: number(row["id"]), Title: text(row["Subject"]), Description: lines(customField(row, "Description")),
			Status: rtStatus[text(row["Status"])], Priority: rtPriority[number(row["Priority"])],
		}
		if deep {
			if err := p.transactions(ctx, &t); err != nil {
				return nil, err
			}
		}
		out = append(out, t)
	}
	return out, nil
}

func (p *Pair) transactions(ctx context.Context, t *Ticket) error {
	rows, err := p.RT.History(ctx, p.RT.Human, t.Key, "Type,Field,Creator")
	if err != nil {
		return err
	}
	bodies, err := p.messages(ctx, t.Key)
	if err != nil {
		return err
	}
	for _, row := range rows {
		body := lines(bodies[number(row["id"])])
		if login(row["Creator"]) == p.RT.Service.Login {
			t.ServiceWrites++
		}
		switch text(row["Type"]) {
		case "Correspond":
			t.Comments = append(t.Comments, body)
		case "Comment":
			t.Internal = append(t.Internal, body)
		}
	}
	return nil
}

// messages returns the texts of a ticket's transactions.
func (p *Pair) messages(ctx context.Context, ticket string) (map[string]string, error) {
	query := url.Values{"fields": {"TransactionId,ContentType,Content"}, "per_page": {"100"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet,
		p.RT.URL+"/REST/2.0/ticket/"+ticket+"/attachments?"+query.Encode(), http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "token "+p.RT.Human.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var page struct{ Items []map[string]any }
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
		return nil, fmt.Errorf("ticket %s: HTTP %d: %w", ticket, resp.StatusCode, err)
	}
	out := map[string]string{}
	for _, item := range page.Items {
		if strings.HasPrefix(text(item["ContentType"]), "text/plain") {
			out[number(item["TransactionId"])] = text(item["Content"])
		}
	}
	return out, nil
}

// Difference compares both sides by title and says in which tickets and fields
// they differ; "" if in none. Titles must be unique.
func Difference(acme, globex []Ticket) string {
	var out []string
	at := map[string]Ticket{}
	for _, t := range acme {
		if _, twice := at[t.Title]; twice {
			out = append(out, fmt.Sprintf("acme has %q twice", t.Title))
		}
		at[t.Title] = t
	}
	for _, g := range globex {
		a, ok := at[g.Title]
		if !ok {
			out = append(out, fmt.Sprintf("globex alone (or twice) has %q (%s)", g.Title, g.Key))
			continue
		}
		delete(at, g.Title)
		for _, f := range [][3]string{
			{"description", a.Description, g.Description},
			{"status", a.Status, g.Status},
			{"priority", a.Priority, g.Priority},
			{"comments", bodies(a), bodies(g)},
		} {
			if f[1] != f[2] {
				out = append(out, fmt.Sprintf("%q: %s: acme %q, globex %q", g.Title, f[0], f[1], f[2]))
			}
		}
	}
	for title := range at {
		out = append(out, fmt.Sprintf("acme alone has %q", title))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// bodies joins the public comments without the line that names their author.
func bodies(t Ticket) string {
	var out []string
	for _, c := range t.Comments {
		if first, rest, ok := strings.Cut(c, "\n"); ok && strings.HasSuffix(first, "):") {
			c = strings.TrimSpace(rest)
		}
		out = append(out, strings.TrimSpace(c))
	}
	slices.Sort(out) // each system orders by its own arrival
	return strings.Join(out, "\x00")
}

// Writes sums what our service accounts wrote.
func Writes(sides ...[]Ticket) (n int) {
	for _, side := range sides {
		for _, t := range side {
			n += t.ServiceWrites
		}
	}
	return n
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func lines(s string) string { return strings.TrimSpace(strings.ReplaceAll(s, "\r\n", "\n")) }

func number(v any) string {
	switch n := v.(type) {
	case float64:
		return strconv.FormatFloat(n, 'f', -1, 64)
	case fmt.Stringer:
		return n.String()
	}
	return text(v)
}

func name(v any) string {
	m, _ := v.(map[string]any)
	return text(m["name"])
}

func login(v any) string {
	m, _ := v.(map[string]any)
	return text(m["id"])
}

func list(v any) []map[string]any {
	items, _ := v.([]any)
	var out []map[string]any
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func customField(row map[string]any, field string) string {
	for _, f := range list(row["CustomFields"]) {
		if text(f["name"]) != field {
			continue
		}
		if values, _ := f["values"].([]any); len(values) > 0 {
			return text(values[0])
		}
	}
	return ""
}
