package admission

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/wire"
)

var (
	acme = quotaKey{"tickets", "acme"}
	much = Rate{1 << 30, 1 << 40}
)

// A bucket refuses until its tokens are back, and a refusal costs none.
func TestQuota(t *testing.T) {
	q := newQuotas()
	now, site := time.Unix(1000, 0), Rate{1000, 1 << 30}
	take := func(at time.Time, key quotaKey, n int) (wire.Reason, time.Duration) {
		return q.take(at, key, site, much, n, n)
	}
	if reason, _ := take(now, acme, 1024); reason != "" {
		t.Fatalf("first batch: %s", reason)
	}
	for range 3 {
		if reason, wait := take(now, acme, 1000); reason != wire.ReasonQuotaOps || wait != 24*time.Millisecond {
			t.Fatalf("second batch: %s, wait %s", reason, wait)
		}
	}
	if reason, _ := take(now.Add(24*time.Millisecond), acme, 1000); reason != "" {
		t.Fatalf("when it was told to come back: %s", reason)
	}
	if reason, _ := take(now, quotaKey{"tickets", "globex"}, 1024); reason != "" {
		t.Fatalf("another site: %s", reason)
	}
	if reason, _ := take(now, quotaKey{"orders", "acme"}, 1024); reason != "" {
		t.Fatalf("another pact: %s", reason)
	}
}

// What members of one pact may send together is bounded too, and the other
// pacts don't pay for it.
func TestQuotaOfThePact(t *testing.T) {
	q := newQuotas()
	now, pact := time.Unix(1000, 0), Rate{1 << 30, 1 << 20}
	for i := range pactBatches {
		if reason, _ := q.take(now, quotaKey{"tickets", crdt.Site(fmt.Sprint("site", i))}, much, pact, 1, 1<<20); reason != "" {
			t.Fatalf("site %d: %s", i, reason)
		}
	}
	for _, key := range []quotaKey{acme, {"tickets", "globex"}} {
		if reason, wait := q.take(now, key, much, pact, 1, 1<<19); reason != wire.ReasonQuotaBytes || wait != time.Second/2 {
			t.Fatalf("%s: %s, wait %s", key.site, reason, wait)
		}
	}
	if reason, _ := q.take(now, quotaKey{"orders", "acme"}, much, pact, 1, 1<<20); reason != "" {
		t.Fatalf("another pact: %s", reason)
	}
}

// Whatever is asked for and whenever: in any time no more is granted than a
// burst and what has flowed in, and who waits as told is granted.
func TestQuotaProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newQuotas()
		site := Rate{rapid.IntRange(1, 5000).Draw(t, "ops"), rapid.IntRange(1, 4<<20).Draw(t, "bytes")}
		start := time.Unix(1000, 0)
		now, ops, bytes := start, 0, 0
		for range rapid.IntRange(1, 50).Draw(t, "batches") {
			now = now.Add(time.Duration(rapid.IntRange(-100, 2000).Draw(t, "pause")) * time.Millisecond)
			n, size := rapid.IntRange(1, wire.BatchOpsMax).Draw(t, "n"), rapid.IntRange(1, wire.BatchBytesMax).Draw(t, "size")
			reason, wait := q.take(now, acme, site, much, n, size)
			if reason != "" && rapid.Bool().Draw(t, "patient") {
				now = now.Add(wait + time.Microsecond) // float rounding
				if reason, _ = q.take(now, acme, site, much, n, size); reason != "" {
					t.Fatalf("%s although it waited %s", reason, wait)
				}
			}
			if reason == "" {
				ops, bytes = ops+n, bytes+size
			}
			passed := max(0, now.Sub(start).Seconds()) + 5.1 // steps back of the clock give nothing, but nothing is lost either
			if limit := float64(max(wire.BatchOpsMax, 2*site.Ops)) + passed*float64(site.Ops); float64(ops) > limit {
				t.Fatalf("%d ops in %.1f s, limit %.0f", ops, passed, limit)
			}
			if limit := float64(max(wire.BatchBytesMax, 2*site.Bytes)) + passed*float64(site.Bytes); float64(bytes) > limit {
				t.Fatalf("%d bytes in %.1f s, limit %.0f", bytes, passed, limit)
			}
		}
	})
}

// The entry of a new pact makes the quotas sweep, which must not forget the entry of
// its site: what is taken counts at once.
func TestQuotaOfNewMemberCounts(t *testing.T) {
	q := newQuotas()
	now, site := time.Unix(1000, 0), Rate{1000, 1 << 30}
	for i := 0; len(q.entries) < q.sweepAt-1; i++ {
		pact := crdt.Pact("busy")
		q.take(now, quotaKey{pact, crdt.Site(fmt.Sprint("site", i))}, site, much, 1024, 1)
	}
	for i, want := range []wire.Reason{"", wire.ReasonQuotaOps} {
		if reason, _ := q.take(now, acme, site, much, 1024, 1); reason != want {
			t.Fatalf("batch %d: %q, want %q", i, reason, want)
		}
	}
}

// Time that a clock goes back is not counted twice.
func TestQuotaClockBack(t *testing.T) {
	q := newQuotas()
	now, site := time.Unix(1000, 0), Rate{1000, 1 << 30}
	take := func(at time.Time, n int) wire.Reason {
		reason, _ := q.take(at, acme, site, much, n, 1)
		return reason
	}
	if take(now, 1024) != "" || take(now, 976) != "" {
		t.Fatal("the burst of two seconds is refused")
	}
	for range 3 {
		if take(now.Add(-time.Second), 1000) == "" || take(now, 1000) == "" {
			t.Fatal("a clock that went back and forth gave tokens")
		}
	}
}

// A hundred thousand pacts that don't exist, and sites that are no members,
// leave nothing behind; nor do members, once they have been quiet for a while.
func TestNamesLeaveNoTrace(t *testing.T) {
	log := &fakeLog{takeMax: 10}
	a := New(testConfig(log))
	b := batchOf(1)
	for i := range 100_000 {
		b.Pact = crdt.Pact(fmt.Sprint("pact-", i))
		if r := a.Admit(who, b).Wait(context.Background()).Results[0]; r.Reason != wire.ReasonPactUnknown {
			t.Fatalf("%s: %+v", b.Pact, r)
		}
		stranger := identity.Agent{Site: crdt.Site(fmt.Sprint("site-", i)), Name: "main"}
		mine := wire.Batch{Pact: "tickets", Epoch: 7, Ops: []crdt.Op{b.Ops[0]}}
		mine.Ops[0].Author.Site = stranger.Site
		if r := a.Admit(stranger, mine).Wait(context.Background()).Results[0]; r.Reason != wire.ReasonPactNotMember {
			t.Fatalf("%s: %+v", stranger.Site, r)
		}
	}
	if n := len(a.quotas.entries); n != 0 || len(log.taken) != 0 {
		t.Fatalf("%d quotas, %d commands", n, len(log.taken))
	}
	now := time.Unix(1000, 0)
	for i := range 100_000 {
		now = now.Add(time.Millisecond)
		if reason, _ := a.quotas.take(now, quotaKey{"tickets", crdt.Site(fmt.Sprint("site-", i))}, Rate{1000, 1 << 20}, much, 10, 1000); reason != "" {
			t.Fatal(reason)
		}
	}
	if n := len(a.quotas.entries); n > 4*sweepMin {
		t.Fatalf("%d members are remembered", n)
	}
}
