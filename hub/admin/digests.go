package admin

import (
	"context"

	"github.com/entente-sync/entente/proto/adminhttp"
)

const pathDigests = "/v1/digests"

// Digests is what a node holds, in short: two nodes, or one hub at two times, are
// told apart by it.
type Digests struct {
	Hub   string       `json:"hub"`
	Node  string       `json:"node"`
	Epoch string       `json:"epoch"`
	Index uint64       `json:"index"` // of the newest entry that is in it
	Pacts []PactDigest `json:"pacts"` // sorted by name
}

// PactDigest sums up one pact.
type PactDigest struct {
	Pact      string `json:"pact"`
	Version   uint32 `json:"version"`
	Head      uint64 `json:"head"`
	Registers uint64 `json:"registers"`
	// Digest is of the newest version of every register, hexadecimal. Unlike Head,
	// it does not tell in which order they came.
	Digest string `json:"digest"`
}

// ServeDigests answers what the node holds.
func ServeDigests(digests func(context.Context) (Digests, error)) adminhttp.Verb {
	return adminhttp.Ask("GET "+pathDigests, digests)
}

// Digests asks what the node holds.
func (c *Client) Digests(ctx context.Context) (Digests, error) {
	return get[Digests](ctx, c, pathDigests)
}
