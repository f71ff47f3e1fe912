package hub

import (
	"context"
	"encoding/hex"

	"github.com/entente-sync/entente/hub/admin"
)

// Digests says what this node has applied.
func (h *Hub) Digests(context.Context) (admin.Digests, error) {
	_, epoch := h.State().Hub()
	index, pacts := h.State().Digests()
	out := admin.Digests{
		Hub: h.self.Hub, Node: h.self.Name, Epoch: epoch.String(), Index: index, Pacts: []admin.PactDigest{},
	}
	for _, p := range pacts {
		sum := p.Registers.Bytes()
		out.Pacts = append(out.Pacts, admin.PactDigest{
			Pact: string(p.Pact), Version: p.Version, Head: uint64(p.Head), Registers: p.Registers.Count(),
			Digest: hex.EncodeToString(sum[:]),
		})
	}
	return out, nil
}
