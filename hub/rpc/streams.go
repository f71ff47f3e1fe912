package rpc

import (
	"sync"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/wire"
)

// Streams that one agent may have open on one node, whatever the number of its
// connections: each may hold some MiB. Half-open ones count until keepalive finds
// them, so there is room for those that replace them.
const (
	publishersMax  = 16
	subscribersMax = 128
	readersMax     = 16 // of history
)

// streams counts the open streams of each agent. Safe for concurrent use.
type streams struct {
	max int

	mu   sync.Mutex
	open map[identity.Agent]int // never 0
}

func newStreams(limit int) *streams { return &streams{max: limit, open: map[identity.Agent]int{}} }

// enter counts a stream until leave is called, or refuses it.
func (s *streams) enter(who identity.Agent) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[who] >= s.max {
		return nil, wire.Errorf(wire.ReasonHubBusy, "agent %s has %d such streams open, limit %d", who, s.open[who], s.max)
	}
	s.open[who]++
	return func() { s.leave(who) }, nil
}

// sites counts, for each site, the agents that have a stream open.
func (s *streams) sites() map[crdt.Site]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[crdt.Site]int{}
	for who := range s.open {
		out[who.Site]++
	}
	return out
}

func (s *streams) leave(who identity.Agent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[who]--; s.open[who] == 0 {
		delete(s.open, who)
	}
}
