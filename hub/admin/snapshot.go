package admin

import (
	"context"
	"io"
	"net/http"

	"github.com/entente-sync/entente/proto/adminhttp"
)

const pathSnapshot = "/v1/snapshot"

// ServeSnapshot streams the node's state as a backup that is not sealed.
func ServeSnapshot(write func(context.Context, io.Writer) error) adminhttp.Verb {
	return adminhttp.Stream("GET "+pathSnapshot, func(w io.Writer, r *http.Request) error {
		return write(r.Context(), w)
	})
}

// Snapshot asks for the node's state as a backup that is not sealed. A stream
// that breaks off is an error of reading. The caller closes it.
func (c *Client) Snapshot(ctx context.Context) (io.ReadCloser, error) {
	return c.http.Stream(ctx, http.MethodGet, pathSnapshot, http.NoBody)
}
