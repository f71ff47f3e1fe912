package hub

import (
	"context"

	"github.com/entente-sync/entente/hub/admin"
	"github.com/entente-sync/entente/proto/adminhttp"
)

// verbs are what the admin socket can be asked.
func (h *Hub) verbs() []adminhttp.Verb {
	verbs := []adminhttp.Verb{
		admin.ServeMembers(h.MembersAnywhere),
		admin.ServeDigests(h.Digests),
		admin.ServeSnapshot(h.serveBackup),
	}
	for _, v := range h.changes() {
		verbs = append(verbs, h.atLeader(v))
	}
	return verbs
}

// administer serves the admin socket until ctx ends.
func (h *Hub) administer(ctx context.Context) {
	if err := adminhttp.ServeOn(ctx, h.admin, adminhttp.Handler(h.verbs()...)); err != nil {
		h.cfg.Log.Error("the admin socket is not served any more", "error", err)
	}
}
