package admission

import (
	"sync"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// Rate bounds ops and their bytes (wire.OpBytes) per second.
type Rate struct{ Ops, Bytes int }

// quotas limits each site in each pact, and each pact. Only members come this
// far, so there is at most one entry for every member of every pact; one whose
// bucket is full again is as good as none and is forgotten.
type quotas struct {
	mu      sync.Mutex
	entries map[quotaKey]*quota
	sweepAt int // entries at which to look for some to forget
}

// quotaKey names one member of a pact, or with no site the pact.
type quotaKey struct {
	pact crdt.Pact
	site crdt.Site
}

type quota struct{ ops, bytes bucket }

const sweepMin = 64

func newQuotas() *quotas { return &quotas{entries: map[quotaKey]*quota{}, sweepAt: sweepMin} }

// A burst is two seconds' worth, and never less than the largest batch, or a few
// of them for a whole pact.
const (
	burstSeconds = 2
	pactBatches  = 4
)

// take uses what a batch takes of its site's and its pact's quotas, or nothing,
// and says which is used up and how long to wait for it.
func (q *quotas) take(now time.Time, key quotaKey, site, pact Rate, ops, bytes int) (wire.Reason, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.entries) >= q.sweepAt {
		q.sweep(now) // before either entry is had: a sweep forgets one that is still empty
	}
	one, all := q.entry(key), q.entry(quotaKey{pact: key.pact})
	opsWait := max(
		one.ops.wait(now, site.Ops, wire.BatchOpsMax, ops),
		all.ops.wait(now, pact.Ops, pactBatches*wire.BatchOpsMax, ops),
	)
	bytesWait := max(
		one.bytes.wait(now, site.Bytes, wire.BatchBytesMax, bytes),
		all.bytes.wait(now, pact.Bytes, pactBatches*wire.BatchBytesMax, bytes),
	)
	switch {
	case opsWait > 0 && opsWait >= bytesWait:
		return wire.ReasonQuotaOps, opsWait
	case bytesWait > 0:
		return wire.ReasonQuotaBytes, bytesWait
	}
	for _, taken := range []*quota{one, all} {
		taken.ops.taken += float64(ops)
		taken.bytes.taken += float64(bytes)
	}
	return "", 0
}

func (q *quotas) entry(key quotaKey) *quota {
	if e := q.entries[key]; e != nil {
		return e
	}
	e := &quota{}
	q.entries[key] = e
	return e
}

// sweep forgets who has nothing taken. It looks again when twice as many are
// there, so it costs each new entry a constant.
func (q *quotas) sweep(now time.Time) {
	for key, e := range q.entries {
		if e.ops.idle(now) && e.bytes.idle(now) {
			delete(q.entries, key)
		}
	}
	q.sweepAt = max(sweepMin, 2*len(q.entries))
}

// bucket is a token bucket that is described by what was taken from it and has
// not flowed back. The zero bucket is full.
type bucket struct {
	taken     float64
	perSecond int
	at        time.Time
}

// wait lets tokens flow back until now at perSecond, and returns how long it
// takes until n more may be taken. A burst is never less than burstMin.
func (b *bucket) wait(now time.Time, perSecond, burstMin, n int) time.Duration {
	b.flow(now)
	b.perSecond = perSecond
	burst := float64(max(burstMin, n, burstSeconds*perSecond))
	excess := b.taken + float64(n) - burst
	if excess <= 0 {
		return 0
	}
	back := max(0, b.at.Sub(now)) // a clock that went back must come forward again first
	return max(time.Millisecond, back+time.Duration(excess/float64(max(1, perSecond))*float64(time.Second)))
}

// flow lets flow back what was taken. A clock that goes back gives nothing, nor
// does it when it comes forward again over time that was counted.
func (b *bucket) flow(now time.Time) {
	passed := now.Sub(b.at)
	if passed <= 0 {
		return
	}
	if !b.at.IsZero() {
		b.taken = max(0, b.taken-passed.Seconds()*float64(b.perSecond))
	}
	b.at = now
}

// idle reports whether the bucket is full at now.
func (b *bucket) idle(now time.Time) bool {
	b.flow(now)
	return b.taken == 0
}
