package httpcore

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entente-sync/entente/connectors"
)

// TestDoubtOutlivesRepetition: once a repeatable write may have happened, a later
// refusal does not take that back.
func TestDoubtOutlivesRepetition(t *testing.T) {
	var calls atomic.Int32
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) == 1 {
			w.WriteHeader(502)
			return
		}
		w.WriteHeader(409)
	})
	_, err := newClient(t, s.URL, newWorld()).Do(t.Context(), Request{Op: "update", Method: "PUT", Path: "x", Repeatable: true})
	if connectors.ClassOf(err) != connectors.ClassUnknown {
		t.Errorf("%v, want class unknown", err)
	}
}

// TestDoubtOutlivesCancelling: nor does the end of the caller's patience between
// two repetitions.
func TestDoubtOutlivesCancelling(t *testing.T) {
	var calls atomic.Int32
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) == 1 {
			w.WriteHeader(502)
			return
		}
		w.WriteHeader(423) // surely did not happen, this time
	})
	sleeps := 0
	client := newClient(t, s.URL, newWorld(), func(cfg *Config) {
		cfg.Sleep = func(context.Context, time.Duration) error {
			if sleeps++; sleeps == 2 {
				return context.Canceled
			}
			return nil
		}
	})
	_, err := client.Do(t.Context(), Request{Op: "update", Method: "PUT", Path: "x", Repeatable: true})
	if connectors.ClassOf(err) != connectors.ClassUnknown || calls.Load() != 2 {
		t.Errorf("%v after %d calls, want class unknown after 2", err, calls.Load())
	}
}

func TestUnreachableDidNotHappen(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := "http://" + l.Addr().String()
	l.Close()
	tlsServer := httptest.NewTLSServer(http.NotFoundHandler()) // its certificate is not trusted
	t.Cleanup(tlsServer.Close)
	tlsServer.Config.ErrorLog = nil
	for name, url := range map[string]string{"refused": refused, "no such host": "http://host.invalid", "untrusted": tlsServer.URL} {
		_, err := newClient(t, url, newWorld()).Do(t.Context(), Request{Op: "create", Method: "POST", Path: "x", Body: 1})
		if connectors.ClassOf(err) != connectors.ClassUnavailable {
			t.Errorf("%s: %v, want class unavailable", name, err)
		}
	}
}

func TestCancelledBeforeAndAfterSending(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	c := newClient(t, s.URL, newWorld())
	for _, x := range []struct {
		method string
		want   connectors.Class
	}{{"POST", connectors.ClassUnknown}, {"GET", connectors.ClassUnavailable}} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-arrived; cancel() }()
		_, err := c.Do(ctx, Request{Op: "x", Method: x.method, Path: "x"})
		if connectors.ClassOf(err) != x.want || !errors.Is(err, context.Canceled) {
			t.Errorf("%s cancelled in flight: %v, want %s", x.method, err, x.want)
		}
		if _, err = c.Do(ctx, Request{Op: "x", Method: x.method, Path: "x"}); connectors.ClassOf(err) != connectors.ClassUnavailable || !errors.Is(err, context.Canceled) {
			t.Errorf("%s cancelled before: %v", x.method, err)
		}
	}
}
