// Package admin is the only way into a running agent: a small HTTP API with
// JSON bodies on a unix socket, for the command line. File permissions guard it;
// it has no other authentication.
//
//	GET  /v1/status         Status
//	GET  /v1/holds          []Hold
//	POST /v1/holds/release  Release -> 204
//	POST /v1/poll           nothing -> 204: list every system now
//
// Errors are Problem objects with a 4xx or 5xx status.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Version of the API; it is the first part of every path.
const Version = 1

// PathBytesMax bounds the path of a socket; some systems allow no more.
const PathBytesMax = 103

// bodyBytesMax bounds a request.
const bodyBytesMax = 64 << 10

// Agent is what this package asks of an agent. All methods are safe for
// concurrent use.
type Agent interface {
	Status() (Status, error)
	Holds() ([]Hold, error)
	Release(Release) error
	Poll()
}

// ErrInvalid is wrapped by errors that are the caller's fault.
var ErrInvalid = errors.New("invalid request")

var errUnknown = errors.New("unknown request")

// Problem is the body of an error.
type Problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Serve listens on the socket at path until ctx ends. A socket that a dead
// agent left behind is replaced; one that answers is not.
func Serve(ctx context.Context, path string, agent Agent) error {
	listener, err := listen(path)
	if err != nil {
		return fmt.Errorf("admin socket: %w", err)
	}
	server := &http.Server{Handler: Handler(agent), ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(grace) // calls that are cut off after the grace change nothing
	})
	err = server.Serve(listener)
	if stop() { // ctx still lives: the listener broke
		return errors.Join(fmt.Errorf("admin socket: %w", err), server.Close())
	}
	<-stopped
	return nil
}

func listen(path string) (net.Listener, error) {
	if len(path) > PathBytesMax {
		return nil, fmt.Errorf("%s: the path has %d bytes, and a socket's at most %d: choose a shorter one", path, len(path), PathBytesMax)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := vacate(path); err != nil {
		return nil, err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// vacate removes a socket that nobody answers at. Anything else stays: a file
// that a mistaken path names, and a socket whose owner is merely slow.
func vacate(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%s exists and is no socket: choose another path", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		return errors.Join(fmt.Errorf("another agent answers at %s: stop it, or choose another path", path), conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s may belong to a running agent: %w", path, err)
	}
	return os.Remove(path)
}

// Handler serves the API.
func Handler(agent Agent) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		status, err := agent.Status()
		answer(w, status, err)
	})
	mux.HandleFunc("GET /v1/holds", func(w http.ResponseWriter, _ *http.Request) {
		holds, err := agent.Holds()
		if holds == nil {
			holds = []Hold{}
		}
		answer(w, holds, err)
	})
	mux.HandleFunc("POST /v1/holds/release", func(w http.ResponseWriter, r *http.Request) {
		var body Release
		err := read(http.MaxBytesReader(w, r.Body, bodyBytesMax), &body)
		if err == nil {
			err = agent.Release(body)
		}
		answer(w, nil, err)
	})
	mux.HandleFunc("POST /v1/poll", func(w http.ResponseWriter, _ *http.Request) {
		agent.Poll()
		answer(w, nil, nil)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answer(w, nil, fmt.Errorf("%w: no %s %s in version %d of the API", errUnknown, r.Method, r.URL.Path, Version))
	})
	return mux
}

// read takes one JSON value and nothing behind it.
func read(from io.Reader, into any) error {
	decoder := json.NewDecoder(from)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: more than one JSON value", ErrInvalid)
	}
	return nil
}

// answer writes body, nothing (204), or a Problem.
func answer(w http.ResponseWriter, body any, err error) {
	code := http.StatusOK
	switch {
	case errors.Is(err, errUnknown):
		code, body = http.StatusNotFound, Problem{Code: "admin.unknown", Message: err.Error()}
	case errors.Is(err, ErrInvalid):
		code, body = http.StatusBadRequest, Problem{Code: "admin.invalid", Message: err.Error()}
	case err != nil:
		code, body = http.StatusInternalServerError, Problem{Code: "admin.failed", Message: err.Error()}
	case body == nil:
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(body) // the caller is gone: nobody is left to tell
}
