package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/memory"
)

// plan is what a seed draws before anything happens.
type plan struct {
	desks []deskPlan
	// shared: the last system stands beside the first agent, not at a site of its own.
	shared  bool
	crashes bool
	network bool // messages are lost, doubled, late and out of order
	hubDown bool // the hub restarts from an image or its log
	restore bool // once, the hub goes back to a backup and starts a new epoch
	runaway bool // the first agent's clock runs ahead until the hub refuses its stamps
	// leap is how far the last agent's clock is ahead before it steps back, in the
	// midst of things, at first to the truth and then behind it.
	leap    time.Duration
	actions int
}

// deskPlan is one system: what it can do, and what goes wrong with it.
type deskPlan struct {
	vocabulary  int
	caps        connectors.Capabilities
	commentKeys bool
	standing    []memory.Fault // habits, which stay
	faults      []memory.Fault // end when everything heals
	skew        time.Duration  // of the system's clock
	agentSkew   time.Duration
	lossy       lossy    // of descriptions, not declared
	words       []string // for people
}

// staleMax is the staleness bound that every system declares; lags stay below.
const staleMax = 4 * time.Second

func draw(rng *rand.Rand) plan {
	one := func(n int) bool { return rng.IntN(n) == 0 }
	p := plan{
		crashes: !one(4), network: !one(4), hubDown: one(2), restore: one(8), runaway: one(12),
		actions: 250 + rng.IntN(200),
	}
	n := 2
	if one(3) {
		n, p.shared = 3, one(2)
	}
	if one(16) {
		p.leap = []time.Duration{10 * time.Minute, 10 * 365 * 24 * time.Hour}[rng.IntN(2)]
	}
	order := rng.Perm(3)
	for i := range n {
		p.desks = append(p.desks, drawDesk(rng, vocabularies()[order[i]], order[i]))
	}
	return p
}

func drawDesk(rng *rand.Rand, v *vocabulary, index int) deskPlan {
	one := func(n int) bool { return rng.IntN(n) == 0 }
	d := deskPlan{vocabulary: index, caps: memory.All(), commentKeys: one(3)}
	d.caps.StaleMax = staleMax
	d.skew = time.Duration(rng.IntN(120_000)-60_000) * time.Millisecond
	d.agentSkew = time.Duration(rng.IntN(3000)-1500) * time.Millisecond
	without := func(share int, word string, change func()) {
		if one(share) {
			change()
			d.words = append(d.words, word)
		}
	}
	without(4, "no history", func() { d.caps.History = false })
	without(4, "no compare-and-set", func() { d.caps.Conditional = false })
	without(4, "no write revision", func() { d.caps.WriteRevision = false })
	without(8, "no revisions", func() { d.caps.Revisions, d.caps.Conditional, d.caps.WriteRevision = false, false, false })
	without(4, "no correlation", func() { d.caps.Correlation = false })
	without(4, "no delete evidence", func() { d.caps.DeleteEvidence = false })
	without(8, "history of few fields", func() { d.caps.HistoryFields = []string{v.description, v.status} })
	d.habits(rng, v)
	d.mishaps(rng)
	if one(6) {
		d.lossyHabit(rng)
	}
	return d
}

// habits are what a system always does.
func (d *deskPlan) habits(rng *rand.Rand, v *vocabulary) {
	add := func(share int, f memory.Fault) {
		if rng.IntN(share) == 0 {
			d.standing = append(d.standing, f)
			d.words = append(d.words, strings.TrimSpace(fmt.Sprint(f.Kind, " ", f.Form)))
		}
	}
	forms := []memory.Form{memory.FormTrim, memory.FormCRLF, memory.FormFold, memory.FormMarkup}
	add(2, memory.Fault{Kind: memory.Normalise, Field: v.description, Form: forms[rng.IntN(len(forms))]})
	add(4, memory.Fault{Kind: memory.Normalise, Field: v.title, Form: forms[rng.IntN(len(forms))]})
	add(4, memory.Fault{Kind: memory.Normalise, Field: "comments", Form: []memory.Form{memory.FormTrim, memory.FormCRLF}[rng.IntN(2)]})
	add(8, memory.Fault{Kind: memory.ClockCoarse, Duration: time.Second})
	if d.caps.History && d.caps.HistoryFields == nil {
		add(6, memory.Fault{Kind: memory.Automation, Field: v.description, Form: memory.FormMarkup, Duration: 700 * time.Millisecond})
	}
}

// mishaps are what goes wrong for a time.
func (d *deskPlan) mishaps(rng *rand.Rand) {
	writes := []memory.Call{memory.CallCreate, memory.CallUpdate, memory.CallComment}
	add := func(share int, f memory.Fault) {
		if rng.IntN(share) == 0 {
			d.faults = append(d.faults, f)
			d.words = append(d.words, string(f.Kind))
		}
	}
	add(2, memory.Fault{Kind: memory.FailAfter, Share: 0.2, Calls: writes})
	add(3, memory.Fault{Kind: memory.FailBefore, Share: 0.1, Class: connectors.ClassUnknown, Calls: writes})
	add(3, memory.Fault{Kind: memory.FailBefore, Share: 0.1, Class: connectors.ClassUnavailable})
	add(4, memory.Fault{Kind: memory.FailBefore, Share: 0.2, Class: connectors.ClassThrottled, Duration: 2 * time.Second})
	add(4, memory.Fault{Kind: memory.HalfWrite, Share: 0.2, Calls: []memory.Call{memory.CallUpdate}})
	add(4, memory.Fault{Kind: memory.Touch, Share: 0.05})
	add(3, memory.Fault{Kind: memory.Lag, Duration: 3 * time.Second})
	add(4, memory.Fault{Kind: memory.ListRepeat, Share: 0.2})
	add(6, memory.Fault{Kind: memory.Denied, Share: 0.05, Calls: []memory.Call{memory.CallRead}})
	add(6, memory.Fault{Kind: memory.Hidden, Share: 0.05, Calls: []memory.Call{memory.CallRead}})
	add(8, memory.Fault{Kind: memory.RevisionFlaky, Share: 0.1})
	add(8, memory.Fault{Kind: memory.RevisionNull, Share: 0.1})
}

// String names the world in words.
func (p plan) String() string {
	words := []string{fmt.Sprintf("%d systems", len(p.desks))}
	for _, w := range []struct {
		on   bool
		name string
	}{
		{p.shared, "two at one agent"},
		{p.crashes, "crashes"},
		{p.network, "bad network"},
		{p.hubDown, "hub restarts"},
		{p.restore, "hub restored"},
		{p.runaway, "runaway clock"},
		{p.leap > 0, "clock of the last agent ahead by " + p.leap.String()},
	} {
		if w.on {
			words = append(words, w.name)
		}
	}
	for _, d := range p.desks {
		words = append(words, vocabularies()[d.vocabulary].file+"("+strings.Join(d.words, ", ")+")")
	}
	return strings.Join(words, "; ")
}
