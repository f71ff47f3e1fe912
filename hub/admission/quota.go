package admission

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// quotas limits the ops per second of each site in each pact. There is a bucket
// for every member of every pact that has published, and no more: only members
// come this far.
type quotas struct {
	mu      sync.Mutex
	buckets map[bucketKey]*bucket
}

type bucketKey struct {
	pact crdt.Pact
	site crdt.Site
}

type bucket struct {
	limit   int
	limiter *rate.Limiter
}

// take uses n of the key's tokens, or none and says how long to wait for them.
// A burst is two seconds' worth, and never less than the largest batch.
func (q *quotas) take(now time.Time, key bucketKey, perSecond, n int) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.buckets[key]
	if b == nil || b.limit != perSecond {
		burst := max(wire.BatchOpsMax, min(2*perSecond, math.MaxInt32))
		b = &bucket{perSecond, rate.NewLimiter(rate.Limit(perSecond), burst)}
		q.buckets[key] = b
	}
	reservation := b.limiter.ReserveN(now, n)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}
