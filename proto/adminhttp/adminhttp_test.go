package adminhttp_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/entente-sync/entente/proto/adminhttp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type word struct {
	Text string `json:"text"`
}

// serve runs verbs on a socket with a path that is short enough.
func serve(t *testing.T, verbs ...adminhttp.Verb) *adminhttp.Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "adm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "a.sock")
	listener, err := adminhttp.Listen(path, "thing")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- adminhttp.ServeOn(ctx, listener, adminhttp.Handler(verbs...)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return adminhttp.NewClient(path, "thing")
}

func TestVerbs(t *testing.T) {
	var told string
	c := serve(t,
		adminhttp.Ask("GET /v1/ask", func(context.Context) (word, error) { return word{"asked"}, nil }),
		adminhttp.Tell("POST /v1/tell", func(_ context.Context, w word) error { told = w.Text; return nil }),
		adminhttp.Call("POST /v1/call", func(_ context.Context, w word) (word, error) { return word{w.Text + "!"}, nil }),
	)
	var got word
	if err := c.Call(t.Context(), http.MethodGet, "/v1/ask", nil, &got); err != nil || got.Text != "asked" {
		t.Errorf("ask: %v, %v", got, err)
	}
	if err := c.Call(t.Context(), http.MethodPost, "/v1/tell", word{"this"}, nil); err != nil || told != "this" {
		t.Errorf("tell: %q, %v", told, err)
	}
	if err := c.Call(t.Context(), http.MethodPost, "/v1/call", word{"well"}, &got); err != nil || got.Text != "well!" {
		t.Errorf("call: %v, %v", got, err)
	}
}

// A refusal arrives as it was made, so that the command line can tell what to do.
func TestErrorsCrossWhole(t *testing.T) {
	want := adminhttp.Error{Status: http.StatusConflict, Code: "node.leader", Message: "n1 leads", Next: "transfer first"}
	c := serve(t, adminhttp.Ask("GET /v1/ask", func(context.Context) (word, error) {
		refused := want
		return word{}, &refused
	}))
	err := c.Call(t.Context(), http.MethodGet, "/v1/ask", nil, &word{})
	var got *adminhttp.Error
	if !errors.As(err, &got) || *got != want || err.Error() != "admin: node.leader: n1 leads; transfer first" {
		t.Errorf("got %v", err)
	}
}

// Bytes of any number go both ways; an answer that fails midway is seen to fail.
func TestStreams(t *testing.T) {
	const size = 3 << 20
	failed := errors.New("disk gone")
	c := serve(t,
		adminhttp.Stream("POST /v1/echo", func(w io.Writer, r *http.Request) error {
			_, err := io.Copy(w, r.Body)
			return err
		}),
		adminhttp.Stream("GET /v1/early", func(io.Writer, *http.Request) error { return failed }),
		adminhttp.Stream("GET /v1/late", func(w io.Writer, _ *http.Request) error {
			if _, err := w.Write(make([]byte, size)); err != nil {
				return err
			}
			return failed
		}),
	)
	answer, err := c.Stream(t.Context(), http.MethodPost, "/v1/echo", strings.NewReader(strings.Repeat("x", size)))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, answer); n != size || err != nil {
		t.Errorf("%d bytes came back, %v", n, err)
	}
	answer.Close()
	if _, err := c.Stream(t.Context(), http.MethodGet, "/v1/early", nil); err == nil || !strings.Contains(err.Error(), "admin.failed: disk gone") {
		t.Errorf("a failure before the first byte: %v", err)
	}
	if answer, err = c.Stream(t.Context(), http.MethodGet, "/v1/late", nil); err != nil {
		t.Fatal(err)
	}
	defer answer.Close()
	if _, err := io.Copy(io.Discard, answer); err == nil {
		t.Error("a cut-off answer was read as a whole one")
	}
}

func TestNobody(t *testing.T) {
	err := adminhttp.NewClient(filepath.Join(t.TempDir(), "s"), "thing").Call(t.Context(), http.MethodGet, "/v1/ask", nil, nil)
	if !errors.Is(err, adminhttp.ErrNobody) || !strings.Contains(err.Error(), "no thing answers at") {
		t.Errorf("got %v", err)
	}
}
