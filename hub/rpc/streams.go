package rpc

import (
	"sync"
	"time"

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
	open map[identity.Agent]int       // never 0
	ends map[identity.Agent]time.Time // of the certificate that was shown last; only of those in open, and not of all
}

func newStreams(limit int) *streams {
	return &streams{max: limit, open: map[identity.Agent]int{}, ends: map[identity.Agent]time.Time{}}
}

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

// shown notes when the certificate of an agent ends that has a stream open.
func (s *streams) shown(who identity.Agent, end time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[who] > 0 {
		s.ends[who] = end
	}
}

// soonest is, for each site, when the first certificate of its agents ends.
func (s *streams) soonest() map[crdt.Site]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[crdt.Site]time.Time{}
	for who, end := range s.ends {
		if old, ok := out[who.Site]; !ok || end.Before(old) {
			out[who.Site] = end
		}
	}
	return out
}

func (s *streams) leave(who identity.Agent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[who]--; s.open[who] == 0 {
		delete(s.open, who)
		delete(s.ends, who)
	}
}
