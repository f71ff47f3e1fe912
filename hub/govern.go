package hub

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/replica"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/pact"
)

// govern does what a leader owes the hub: found it once, and put configured
// pacts in force. It looks again and again, because leadership may come at any
// time and a proposal may get lost; doing it twice changes nothing.
func (h *Hub) govern(ctx context.Context) {
	tick := time.NewTicker(h.cfg.Timing.Govern)
	defer tick.Stop()
	said := configured{refused: map[crdt.Pact]uint32{}, late: map[crdt.Pact]bool{}}
	for {
		if err := h.level(); err != nil && ctx.Err() == nil {
			h.cfg.Log.Debug("the members are not known", "error", err)
		}
		if h.replica.Leading() {
			if err := h.reconcile(ctx); err != nil {
				h.cfg.Log.Debug("the membership is not as ordered yet", "error", err)
			}
			if err := h.governOnce(ctx, said); err != nil && ctx.Err() == nil && !temporary(err) {
				h.cfg.Log.Error("the hub cannot be governed", "error", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func temporary(err error) bool {
	return errors.Is(err, replica.ErrNotLeader) || errors.Is(err, replica.ErrUnknown) ||
		errors.Is(err, replica.ErrBusy) || errors.Is(err, replica.ErrStopped) ||
		errors.Is(err, replica.ErrDiskLow)
}

// configured remembers what was said of configured pacts, each once: versions
// that the hub will not take, and those that wait for an older member.
type configured struct {
	refused map[crdt.Pact]uint32
	late    map[crdt.Pact]bool
}

func (h *Hub) governOnce(ctx context.Context, said configured) error {
	id, err := parseID(h.self.Hub)
	if err != nil {
		return fmt.Errorf("hub id in the certificate: %w", err)
	}
	held, _ := h.State().Hub()
	if held.IsZero() {
		if err := h.found(ctx, id); err != nil {
			return err
		}
		held, _ = h.State().Hub()
	}
	if held != id {
		return fmt.Errorf("the directory holds hub %s, the certificate is of hub %s", held, id)
	}
	for _, p := range h.cfg.Pacts {
		if said.refused[p.Name] == p.Version || !h.newer(p) {
			continue
		}
		result, err := h.replica.Propose(ctx, &command.PutPact{Document: p.Encode()})
		if errors.Is(err, replica.ErrNotYet) {
			if !said.late[p.Name] {
				said.late[p.Name] = true
				h.cfg.Log.Info("configured pact waits until every node is of this version", "pact", p.Name, "version", p.Version,
					"next", "see the versions with: entente hub members")
			}
			continue
		}
		if err != nil {
			return err
		}
		if result.Reason != "" {
			said.refused[p.Name] = p.Version
			h.cfg.Log.Warn("configured pact is not taken", "pact", p.Name, "version", p.Version,
				"reason", result.Reason, "version_in_force", result.Version)
		}
	}
	return nil
}

func (h *Hub) newer(p *pact.Pact) bool {
	info, err := h.State().Pact(p.Name)
	return errors.Is(err, state.ErrPactUnknown) || err == nil && info.Pact.Version < p.Version
}

// found gives the hub its identity and its first epoch.
func (h *Hub) found(ctx context.Context, id command.HubID) error {
	var raw [8]byte
	for binary.LittleEndian.Uint64(raw[:]) == 0 {
		if _, err := io.ReadFull(h.cfg.Random, raw[:]); err != nil {
			return fmt.Errorf("random epoch: %w", err)
		}
	}
	epoch := crdt.Epoch(binary.LittleEndian.Uint64(raw[:]))
	result, err := h.replica.Propose(ctx, &command.Found{Hub: id, Epoch: epoch})
	if err != nil {
		return err
	}
	if result.Reason != "" && result.Reason != state.ReasonFounded {
		return fmt.Errorf("the hub is not founded: %s", result.Reason)
	}
	return nil
}
