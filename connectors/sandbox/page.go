package sandbox

import (
	"embed"
	"html/template"
	"net/http"
	"slices"
	"strings"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt/value"
)

//go:embed page.html style.css
var assets embed.FS

func (s *Server) routePage(mux *http.ServeMux) {
	p := &page{s: s, view: template.Must(template.New("").Funcs(template.FuncMap{"show": show}).ParseFS(assets, "page.html"))}
	mux.HandleFunc("GET /{$}", p.list)
	mux.HandleFunc("GET /style.css", func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, assets, "style.css") })
	mux.HandleFunc("POST /tickets", p.create)
	mux.HandleFunc("GET /tickets/{key}", p.ticket)
	mux.HandleFunc("POST /tickets/{key}", p.edit)
	mux.HandleFunc("POST /tickets/{key}/comments", p.comment)
	mux.HandleFunc("POST /tickets/{key}/delete", p.remove)
}

// page is what people see; it works without scripts.
type page struct {
	s    *Server
	view *template.Template
}

// view data, one struct for all templates.
type viewData struct {
	Company, System string
	People          []string
	Form            []input
	Tickets         []row
	Ticket          connectors.Record
	Title           string
	Problem         string
}

type row struct {
	Key, Number, Title, Status, Priority, Updated string
}

type input struct {
	connectors.FieldSchema
	Value string
}

// Long fields get a text area.
func (i input) Long() bool { return i.Kind == connectors.FieldRichText }

func show(v value.Value) string {
	switch v.Kind() {
	case value.KindNull:
		return ""
	case value.KindText:
		return v.AsText()
	case value.KindList:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = v.At(i).AsText()
		}
		return strings.Join(parts, ", ")
	}
	return v.String()
}

func (p *page) data() viewData {
	return viewData{Company: p.s.cfg.Company, System: p.s.cfg.Vocabulary.Name, People: p.s.cfg.People}
}

// form lists the fields, the title first, filled with fields.
func (p *page) form(fields map[string]value.Value) []input {
	var inputs []input
	for _, f := range p.s.cfg.Vocabulary.Fields {
		i := input{f, show(fields[f.Name])}
		if i.Values != nil && i.Value != "" && !slices.Contains(i.Values, i.Value) { // keep what is there selectable
			i.Values = append(slices.Clone(i.Values), i.Value)
		}
		if f.Name == p.s.cfg.Vocabulary.Title {
			inputs = slices.Insert(inputs, 0, i)
		} else {
			inputs = append(inputs, i)
		}
	}
	return inputs
}

func (p *page) render(w http.ResponseWriter, status int, name string, d viewData) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = p.view.ExecuteTemplate(w, name, d) // the reader left; there is nobody to tell
}

func (p *page) list(w http.ResponseWriter, _ *http.Request) {
	p.renderList(w, http.StatusOK, p.s.withDefaults(nil), "")
}

func (p *page) renderList(w http.ResponseWriter, status int, fields map[string]value.Value, problem string) {
	d := p.data()
	d.Form, d.Problem = p.form(fields), problem
	for _, key := range slices.Backward(p.s.system.Keys()) {
		rec, _ := p.s.system.Get(key)
		d.Tickets = append(d.Tickets, row{
			Key: string(key), Number: rec.Number, Title: show(rec.Fields[p.s.cfg.Vocabulary.Title]),
			Status: show(rec.Fields["status"]), Priority: show(rec.Fields["priority"]), Updated: rec.Updated.Format("15:04:05"),
		})
	}
	p.render(w, status, "list", d)
}

func (p *page) ticket(w http.ResponseWriter, r *http.Request) {
	p.renderTicket(w, r, http.StatusOK, nil, "")
}

// renderTicket shows a ticket; typed, if not nil, is what a person had typed.
func (p *page) renderTicket(w http.ResponseWriter, r *http.Request, status int, typed map[string]value.Value, problem string) {
	d := p.data()
	rec, ok := p.s.system.Get(connectors.Key(r.PathValue("key")))
	if !ok {
		d.Problem = "There is no such ticket."
		p.render(w, http.StatusNotFound, "problem", d)
		return
	}
	d.Ticket, d.Problem, d.Title = rec, problem, show(rec.Fields[p.s.cfg.Vocabulary.Title])
	d.Form = p.form(rec.Fields)
	if typed != nil {
		d.Form = p.form(typed)
	}
	p.render(w, status, "ticket", d)
}

// typed reads the fields of a form. Browsers send CR LF; the store keeps LF.
func (p *page) typed(r *http.Request) map[string]value.Value {
	fields := map[string]value.Value{}
	for _, f := range p.s.cfg.Vocabulary.Fields {
		if !r.PostForm.Has("f-" + f.Name) {
			continue
		}
		text := strings.ReplaceAll(r.PostForm.Get("f-"+f.Name), "\r\n", "\n")
		switch {
		case f.Kind == connectors.FieldSet:
			fields[f.Name] = list(text)
		case text == "":
			fields[f.Name] = value.Null()
		default:
			fields[f.Name] = value.Text(text)
		}
	}
	return fields
}

// list splits labels; none is null.
func list(text string) value.Value {
	var labels []value.Value
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			labels = append(labels, value.Text(part))
		}
	}
	if labels == nil {
		return value.Null()
	}
	return value.List(labels...)
}

// perform does one write as the person chosen in the form.
func (p *page) perform(r *http.Request, w connectors.Write) (connectors.Receipt, error) {
	who := r.PostForm.Get("as")
	if !slices.Contains(p.s.cfg.People, who) {
		return connectors.Receipt{}, &connectors.Error{Class: connectors.ClassInvalid, Op: "write", Message: "choose who you are"}
	}
	return p.s.as(who).Write(r.Context(), w)
}

// parse reads the form, or answers why it cannot.
func (p *page) parse(w http.ResponseWriter, r *http.Request) bool {
	if err := r.ParseForm(); err != nil {
		d := p.data()
		d.Problem = "The form is too big or damaged."
		p.render(w, http.StatusBadRequest, "problem", d)
		return false
	}
	return true
}

func (p *page) create(w http.ResponseWriter, r *http.Request) {
	if !p.parse(w, r) {
		return
	}
	fields := p.typed(r)
	receipt, err := p.perform(r, connectors.Write{Kind: connectors.WriteCreate, Fields: fields})
	if err != nil {
		status, e := statusOf(err)
		p.renderList(w, status, fields, sentence(e))
		return
	}
	http.Redirect(w, r, "/tickets/"+string(receipt.Key), http.StatusSeeOther)
}

func (p *page) edit(w http.ResponseWriter, r *http.Request) {
	if !p.parse(w, r) {
		return
	}
	// Only what the person changed: other fields may move meanwhile.
	fields := p.typed(r)
	rec, _ := p.s.system.Get(connectors.Key(r.PathValue("key")))
	changed := map[string]value.Value{}
	for name, v := range fields {
		if old := rec.Fields[name]; show(v) != strings.ReplaceAll(show(old), "\r\n", "\n") {
			changed[name] = v
		}
	}
	if len(changed) > 0 {
		_, err := p.perform(r, connectors.Write{
			Kind: connectors.WriteUpdate, Key: rec.Key,
			IfRevision: r.PostForm.Get("revision"), Fields: changed,
		})
		if err != nil {
			status, e := statusOf(err)
			p.renderTicket(w, r, status, fields, sentence(e))
			return
		}
	}
	p.back(w, r)
}

func (p *page) comment(w http.ResponseWriter, r *http.Request) {
	if !p.parse(w, r) {
		return
	}
	body := strings.ReplaceAll(r.PostForm.Get("body"), "\r\n", "\n")
	p.finish(w, r, connectors.Write{
		Kind:    connectors.WriteComment,
		Comment: connectors.CommentDraft{Body: body, Internal: r.PostForm.Get("internal") != ""},
	})
}

func (p *page) remove(w http.ResponseWriter, r *http.Request) {
	if p.parse(w, r) {
		p.finish(w, r, connectors.Write{Kind: connectors.WriteDelete})
	}
}

func (p *page) finish(w http.ResponseWriter, r *http.Request, write connectors.Write) {
	write.Key = connectors.Key(r.PathValue("key"))
	if _, err := p.perform(r, write); err != nil {
		status, e := statusOf(err)
		p.renderTicket(w, r, status, nil, sentence(e))
		return
	}
	p.back(w, r)
}

func (p *page) back(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "/tickets/"+r.PathValue("key"), http.StatusSeeOther)
}

// sentence tells a person what went wrong.
func sentence(e *connectors.Error) string {
	switch {
	case e.Class == connectors.ClassConflict:
		return "Somebody changed this ticket while you were typing. Your text is still below: compare it with the history, and save again."
	case e.Field != "":
		return "Not saved: " + e.Field + ": " + e.Message + "."
	}
	return "Not saved: " + e.Message + "."
}
