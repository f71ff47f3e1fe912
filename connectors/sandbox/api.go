package sandbox

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/httpcore"
)

func (s *Server) routeAPI(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/v1/me", s.getMe)
	mux.HandleFunc("GET /api/v1/schema", s.getSchema)
	mux.HandleFunc("GET /api/v1/tickets", s.listTickets)
	mux.HandleFunc("POST /api/v1/tickets", s.postTicket)
	mux.HandleFunc("GET /api/v1/tickets/{key}", s.getTicket)
	mux.HandleFunc("PATCH /api/v1/tickets/{key}", s.patchTicket)
	mux.HandleFunc("DELETE /api/v1/tickets/{key}", s.deleteTicket)
	mux.HandleFunc("POST /api/v1/tickets/{key}/comments", s.postComment)
}

func (s *Server) getMe(w http.ResponseWriter, r *http.Request) {
	writeJSONBody(w, http.StatusOK, actorJSON{Name: userOf(r.Context()), Self: true})
}

func (s *Server) getSchema(w http.ResponseWriter, r *http.Request) {
	schema, err := s.as(userOf(r.Context())).Discover(r.Context())
	if err != nil {
		refuse(w, err)
		return
	}
	var out schemaJSON
	for _, f := range schema.Fields {
		out.Fields = append(out.Fields, fieldJSON{f.Name, f.Label, string(f.Kind), f.Values, f.Required})
	}
	writeJSONBody(w, http.StatusOK, out)
}

func (s *Server) listTickets(w http.ResponseWriter, r *http.Request) {
	c, q := s.as(userOf(r.Context())), r.URL.Query()
	if q.Has("correlation") {
		keys, err := c.Find(r.Context(), q.Get("correlation"))
		if err != nil {
			refuse(w, err)
			return
		}
		out := listJSON{Tickets: []refJSON{}}
		for _, k := range keys {
			out.Tickets = append(out.Tickets, refJSON{Key: string(k)})
		}
		writeJSONBody(w, http.StatusOK, out)
		return
	}
	limit, err := strconv.Atoi(q.Get("limit"))
	if q.Has("limit") && (err != nil || limit < 1 || limit > math.MaxInt16) {
		writeError(w, http.StatusUnprocessableEntity, "invalid", "", "limit must be a number from 1 to 32767")
		return
	}
	cursor, err := base64.RawURLEncoding.DecodeString(q.Get("since"))
	if err != nil {
		writeError(w, http.StatusUnprocessableEntity, "invalid", "", "since is no cursor of ours")
		return
	}
	page, err := c.Changes(r.Context(), cursor, limit)
	if err != nil {
		refuse(w, err)
		return
	}
	out := listJSON{Tickets: []refJSON{}, Next: base64.RawURLEncoding.EncodeToString(page.Next), More: page.More}
	for _, ref := range page.Refs {
		out.Tickets = append(out.Tickets, refJSON{string(ref.Key), ref.Revision})
	}
	writeJSONBody(w, http.StatusOK, out)
}

func (s *Server) getTicket(w http.ResponseWriter, r *http.Request) {
	rec, err := s.as(userOf(r.Context())).Read(r.Context(), connectors.Key(r.PathValue("key")))
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("ETag", strconv.Quote(rec.Revision))
	writeJSONBody(w, http.StatusOK, ticketOf(rec))
}

func (s *Server) postTicket(w http.ResponseWriter, r *http.Request) {
	s.write(w, r, http.StatusCreated, connectors.Write{Kind: connectors.WriteCreate})
}

func (s *Server) patchTicket(w http.ResponseWriter, r *http.Request) {
	s.write(w, r, http.StatusOK, connectors.Write{Kind: connectors.WriteUpdate})
}

func (s *Server) postComment(w http.ResponseWriter, r *http.Request) {
	s.write(w, r, http.StatusCreated, connectors.Write{Kind: connectors.WriteComment})
}

func (s *Server) deleteTicket(w http.ResponseWriter, r *http.Request) {
	s.write(w, r, http.StatusOK, connectors.Write{Kind: connectors.WriteDelete})
}

// write completes a write from the request, performs it and answers.
func (s *Server) write(w http.ResponseWriter, r *http.Request, status int, write connectors.Write) {
	write.Key = connectors.Key(r.PathValue("key"))
	if match := r.Header.Get("If-Match"); match != "" && match != "*" {
		write.IfRevision = strings.Trim(match, `"`)
	}
	if write.Kind != connectors.WriteDelete {
		in, err := readBody(r)
		if err != nil {
			writeError(w, http.StatusBadRequest, "invalid", "", err.Error())
			return
		}
		fields, bad, err := decodeFields(in.Fields)
		if err != nil {
			writeError(w, http.StatusUnprocessableEntity, "invalid", bad, err.Error())
			return
		}
		write.Fields, write.Correlation = fields, in.Correlation
		write.Comment = connectors.CommentDraft{Body: in.Body, Internal: in.Internal}
	}
	if write.Kind == connectors.WriteCreate {
		write.Fields = s.withDefaults(write.Fields)
	}
	receipt, err := s.as(userOf(r.Context())).Write(r.Context(), write)
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("ETag", strconv.Quote(receipt.Revision))
	writeJSONBody(w, status, receiptJSON{string(receipt.Key), receipt.Revision, receipt.Comment})
}

func readBody(r *http.Request) (in writeJSON, err error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return in, fmt.Errorf("the body is bigger than %d bytes or broken", bodyBytesMax)
	}
	return in, httpcore.DecodeJSON(b, &in)
}

// refuse answers with an error of the store.
func refuse(w http.ResponseWriter, err error) {
	status, e := statusOf(err)
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	writeError(w, status, string(e.Class), e.Field, e.Message)
}

func writeError(w http.ResponseWriter, status int, code, field, message string) {
	writeJSONBody(w, status, map[string]errorJSON{"error": {code, field, message}})
}

func writeJSONBody(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the caller left; there is nobody to tell
}
