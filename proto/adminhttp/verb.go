// Package adminhttp is the way into a running process for the command line: a
// small HTTP API with JSON bodies on a unix socket. File permissions guard it; it
// has no other authentication. An agent and a hub node serve different verbs in
// the same manner, which is all that stands here.
//
// A verb answers with a JSON value, with nothing (204), or with an Error and a
// 4xx or 5xx status.
package adminhttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Version of the API; it is the first part of every path.
const Version = 1

// bodyBytesMax bounds the JSON body of a request.
const bodyBytesMax = 64 << 10

// Verb is one thing that can be asked.
type Verb struct {
	// Pattern is method and path, as http.ServeMux reads them: "GET /v1/status".
	Pattern string
	// Serve writes the answer; an error is written by the caller, so nothing may
	// have been written before one is returned.
	Serve func(w http.ResponseWriter, r *http.Request) error
}

// Ask is a verb that takes nothing and answers with a value.
func Ask[Out any](pattern string, do func(context.Context) (Out, error)) Verb {
	return Verb{pattern, func(w http.ResponseWriter, r *http.Request) error {
		out, err := do(r.Context())
		if err == nil {
			write(w, http.StatusOK, out)
		}
		return err
	}}
}

// Tell is a verb that takes a value and answers with nothing.
func Tell[In any](pattern string, do func(context.Context, In) error) Verb {
	return Verb{pattern, func(w http.ResponseWriter, r *http.Request) error {
		in, err := read[In](w, r)
		if err == nil {
			err = do(r.Context(), in)
		}
		if err == nil {
			write(w, http.StatusNoContent, nil)
		}
		return err
	}}
}

// Call is a verb that takes a value and answers with one.
func Call[In, Out any](pattern string, do func(context.Context, In) (Out, error)) Verb {
	return Verb{pattern, func(w http.ResponseWriter, r *http.Request) error {
		in, err := read[In](w, r)
		if err != nil {
			return err
		}
		out, err := do(r.Context(), in)
		if err == nil {
			write(w, http.StatusOK, out)
		}
		return err
	}}
}

// Stream is a verb that reads or writes much: it has no time limit, and the
// request's body is its own to bound. An error after the first byte breaks the
// connection, so that the caller sees an unfinished answer.
func Stream(pattern string, do func(w io.Writer, r *http.Request) error) Verb {
	return Verb{pattern, func(w http.ResponseWriter, r *http.Request) error {
		control := http.NewResponseController(w)
		if err := errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{})); err != nil {
			return err
		}
		out := &streamWriter{w: w}
		err := do(out, r)
		if err != nil && out.began {
			panic(http.ErrAbortHandler)
		}
		return err
	}}
}

// streamWriter knows whether the answer has begun.
type streamWriter struct {
	w     http.ResponseWriter
	began bool
}

func (s *streamWriter) Write(p []byte) (int, error) {
	if !s.began {
		s.began = true
		s.w.Header().Set("Content-Type", "application/octet-stream")
	}
	return s.w.Write(p)
}

// Handler serves the verbs.
func Handler(verbs ...Verb) http.Handler {
	mux := http.NewServeMux()
	for _, v := range verbs {
		mux.HandleFunc(v.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := v.Serve(w, r); err != nil {
				e := problem(err)
				write(w, e.Status, e)
			}
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		write(w, http.StatusNotFound, &Error{
			Code: CodeUnknown, Message: fmt.Sprintf("unknown request: no %s %s in version %d of the API", r.Method, r.URL.Path, Version),
		})
	})
	return mux
}

// Guard asks may of every request, those of no verb too, before the handler has it.
// What may answers with, if anything, is told to the caller as a verb's error is.
func Guard(may func(context.Context) error, handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := may(r.Context()); err != nil {
			e := problem(err)
			write(w, e.Status, e)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// Once ends each connection with the answer to its first request.
func Once(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		handler.ServeHTTP(w, r)
	})
}

// read takes one JSON value and nothing behind it.
func read[In any](w http.ResponseWriter, r *http.Request) (in In, err error) {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyBytesMax))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&in); err != nil {
		return in, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return in, fmt.Errorf("%w: more than one JSON value", ErrInvalid)
	}
	return in, nil
}

// Copy answers with what another process answered: JSON, or nothing (204).
func Copy(w http.ResponseWriter, answer io.Reader) error {
	body, err := io.ReadAll(io.LimitReader(answer, answerBytesMax))
	if err != nil {
		return err
	}
	if len(body) == 0 {
		write(w, http.StatusNoContent, nil)
		return nil
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(body)
	return err
}

// answerBytesMax bounds an answer that is handed on.
const answerBytesMax = 1 << 20
