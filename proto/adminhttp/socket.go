package adminhttp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// PathBytesMax bounds the path of a socket; some systems allow no more.
const PathBytesMax = 103

// Times of one request, but for streams.
const (
	readMax  = 10 * time.Second
	writeMax = time.Minute
	graceMax = 5 * time.Second
)

// Serve listens on the socket at path until ctx ends. who names the process in
// errors: "agent", "hub node". A socket that a dead process left behind is
// replaced; one that answers is not.
func Serve(ctx context.Context, path, who string, handler http.Handler) error {
	listener, err := Listen(path, who)
	if err != nil {
		return err
	}
	return ServeOn(ctx, listener, handler)
}

// Known is a connection that says something of its caller: requests on it have
// the context that it makes.
type Known interface {
	net.Conn
	With(ctx context.Context) context.Context
}

// ServeOn is Serve on a listener that it closes.
func ServeOn(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadTimeout: readMax, WriteTimeout: writeMax}
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if known, ok := c.(Known); ok {
			return known.With(ctx)
		}
		return ctx
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceMax)
		defer cancel()
		if server.Shutdown(grace) != nil { // calls that are cut off after the grace change nothing
			_ = server.Close() // of connections that nobody needs
		}
	})
	err := server.Serve(listener)
	if stop() { // ctx still lives: the listener broke
		return errors.Join(fmt.Errorf("admin socket: %w", err), server.Close())
	}
	<-stopped
	return nil
}

// Listen takes the socket at path.
func Listen(path, who string) (net.Listener, error) {
	listener, err := listen(path, who)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	return listener, nil
}

func listen(path, who string) (net.Listener, error) {
	if len(path) > PathBytesMax {
		return nil, fmt.Errorf("%s: the path has %d bytes, and a socket's at most %d: choose a shorter one", path, len(path), PathBytesMax)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := vacate(path, who); err != nil {
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
func vacate(path, who string) error {
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
		return errors.Join(fmt.Errorf("another %s answers at %s: stop it, or choose another path", who, path), conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s may belong to a running %s: %w", path, who, err)
	}
	return os.Remove(path)
}
