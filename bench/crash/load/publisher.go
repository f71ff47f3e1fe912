package load

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/entente-sync/entente/bench/crash/ledger"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/wire"
)

// Publisher writes to one pact as one agent: ops in an outbox, batches in flight,
// the same bytes again until they are answered for good. Safe for concurrent use.
type Publisher struct {
	who   identity.Agent
	tls   *tls.Config
	pact  crdt.Pact
	peers []Peer
	lane  *ledger.Lane
	view  *Subscriber
	words Words

	mu          sync.Mutex
	draw        *rand.Rand
	incarnation uint64
	seq         crdt.Seq
	ops         []*item // by place, from 1
	newest      crdt.Offset
	settled     int // places that are answered for good, from the first
	pending     map[crdt.Key]*item
	making      bool
	leader      string // address, or ""
	inFlight    int
}

// item is one op of the outbox.
type item struct {
	op     crdt.Op
	offset crdt.Offset // of the answer; 0: not answered
	done   bool
}

// NewPublisher returns a publisher that has not begun. It sees what view sees.
func NewPublisher(book *ledger.Ledger, who identity.Agent, settings *tls.Config, pact crdt.Pact, peers []Peer,
	view *Subscriber, words Words, draw *rand.Rand,
) *Publisher {
	return &Publisher{
		who: who, tls: settings, pact: pact, peers: peers, view: view, words: words, draw: draw,
		lane: book.Lane(fmt.Sprintf("%s/%s in %s", who.Site, who.Name, pact)), incarnation: 1,
		pending: map[crdt.Key]*item{},
	}
}

// Run makes ops, while Make says so, and publishes until ctx ends.
func (p *Publisher) Run(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() {
		for ctx.Err() == nil {
			p.mu.Lock()
			pause := time.Duration(10+p.draw.IntN(60)) * time.Millisecond
			if p.making && len(p.ops)-p.settled < outboxMax {
				for range 1 + p.draw.IntN(10) {
					p.write()
				}
			}
			p.mu.Unlock()
			rest(ctx, pause)
		}
	})
	both.Go(func() {
		for turn := 0; ctx.Err() == nil; turn++ {
			peer := p.next(turn)
			s := &session{publisher: p, peer: peer}
			s.run(ctx)
			rest(ctx, 10*time.Millisecond)
		}
	})
	both.Wait()
}

// outboxMax bounds what waits, so that a round's history stays small.
const outboxMax = 400

// Make lets the publisher write, or stops it.
func (p *Publisher) Make(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.making = on
}

// Restart begins a new incarnation, as an agent does that was killed.
func (p *Publisher) Restart() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.incarnation++
	p.seq = 0
}

// Idle reports whether everything is answered and nothing is on its way.
func (p *Publisher) Idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.settled == len(p.ops) && p.inFlight == 0
}

// Name says who this is.
func (p *Publisher) Name() string { return fmt.Sprintf("%s/%s in %s", p.who.Site, p.who.Name, p.pact) }

// Where says how far the publisher is, for a report.
func (p *Publisher) Where() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprintf("%s/%s in %s: %d of %d answered, %d in flight", p.who.Site, p.who.Name, p.pact, p.settled, len(p.ops), p.inFlight)
}

// next returns the node to dial: the leader that was named, or another one.
func (p *Publisher) next(turn int) Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if address := p.leader; address != "" {
		p.leader = ""
		for _, peer := range p.peers {
			if peer.Address == address {
				return peer
			}
		}
	}
	return p.peers[(turn+p.draw.IntN(2))%len(p.peers)]
}

// write makes one op on what the publisher sees. Caller holds mu.
func (p *Publisher) write() {
	w := p.words.draw(p.draw, p.who.Site)
	key := crdt.Key{Pact: p.pact, Type: p.words.Type, Record: w.record, Field: w.field}
	base, above := p.base(key)
	if p.draw.IntN(12) == 0 {
		base, above = crdt.Base{}, 0 // saw nothing
	}
	stamp := crdt.StampAt(time.Now())
	if p.draw.IntN(20) == 0 && above == 0 {
		stamp = crdt.StampAt(time.Now().Add(-5 * time.Second))
	}
	if stamp <= above {
		stamp, _ = above.Next()
	}
	p.seq++
	op := crdt.Op{
		Key: key, Stamp: stamp, Author: author(p.who, p.incarnation), Seq: p.seq, Base: base,
		PactVersion: 1, Binding: 1, Evidence: crdt.Evidence{Class: crdt.EvidencePoll}, Value: w.value,
	}
	it := &item{op: op}
	p.ops = append(p.ops, it)
	if !w.forbidden {
		p.pending[key] = it
	}
	p.lane.Make(op, w.forbidden)
}

// base is what the publisher has before its eyes, and the stamp of that: its own
// op, until the feed has passed it, else what the feed showed.
func (p *Publisher) base(key crdt.Key) (crdt.Base, crdt.Stamp) {
	if own := p.pending[key]; own != nil {
		if own.offset == 0 || p.view.Cursor() < own.offset {
			return crdt.Base{Pred: own.op.ID(), Birth: own.op.Base.Birth}, own.op.Stamp
		}
		delete(p.pending, key)
	}
	shown := p.view.Current(key)
	if shown.Offset == 0 {
		return crdt.Base{}, 0
	}
	return crdt.Base{Pred: shown.ID, Birth: crdt.Position{Epoch: p.view.epoch(), Offset: shown.Offset}}, shown.Stamp
}

func (s *Subscriber) epoch() crdt.Epoch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fold.Cursor.Epoch
}

// waiting returns a run of ops that wait behind a place, and its places; from is
// greater than to if nothing waits.
func (p *Publisher) waiting(behind, opsMax int) (b wire.Batch, from, to int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.batch(max(behind, p.settled), opsMax)
}

// old returns a run that was answered already, to be sent again.
func (p *Publisher) old(opsMax int) (b wire.Batch, from, to int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.settled == 0 {
		return wire.Batch{}, 1, 0
	}
	behind := p.settled - 1 - p.draw.IntN(min(p.settled, 500))
	return p.batch(behind, min(opsMax, p.settled-behind))
}

// batch returns ops of one incarnation behind a place. Caller holds mu.
func (p *Publisher) batch(behind, opsMax int) (b wire.Batch, from, to int) {
	for i := behind; i < len(p.ops) && len(b.Ops) < opsMax; i++ {
		op := p.ops[i].op
		if len(b.Ops) > 0 && op.Author != b.Ops[0].Author {
			break
		}
		b.Ops = append(b.Ops, op)
	}
	if behind > 0 {
		b.After = p.ops[behind-1].op.ID()
	}
	b.Pact = p.pact
	return b, behind + 1, behind + len(b.Ops)
}

// answered takes in the answers to places from on.
func (p *Publisher) answered(from int, results []wire.OpResult) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, r := range results {
		it := p.ops[from-1+i]
		if r.Outcome == wire.OutcomeApplied || r.Outcome == wire.OutcomeRefused {
			if !it.done {
				it.done, it.offset = true, r.Offset
				p.newest = max(p.newest, r.Offset)
			}
		}
	}
	for p.settled < len(p.ops) && p.ops[p.settled].done {
		p.settled++
	}
}

// Pact is what the publisher writes to.
func (p *Publisher) Pact() crdt.Pact { return p.pact }

// Newest returns the greatest offset that was ever answered.
func (p *Publisher) Newest() crdt.Offset {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.newest
}

// CheckAuthors compares what a node knows of this publisher with what it was
// answered. Everything is answered.
func (p *Publisher) CheckAuthors(ctx context.Context, peer Peer) error {
	welcome, err := greet(ctx, p.tls, peer.Address, p.pact)
	for range patience {
		if !temporary(err) || ctx.Err() != nil {
			break
		}
		rest(ctx, 50*time.Millisecond)
		welcome, err = greet(ctx, p.tls, peer.Address, p.pact)
	}
	if err != nil {
		return fmt.Errorf("greeting node %s at rest: %w", peer.Name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	want := author(p.who, p.incarnation)
	for _, a := range welcome.Pacts[0].Authors {
		if a.Author == want && a.Seen != p.seq {
			return fmt.Errorf("node %s knows %s up to %d, and %d was answered", peer.Name, want, a.Seen, p.seq)
		} else if a.Author == want {
			return nil
		}
	}
	if p.seq > 0 {
		return fmt.Errorf("node %s does not know %s, of which %d was answered", peer.Name, want, p.seq)
	}
	return nil
}
