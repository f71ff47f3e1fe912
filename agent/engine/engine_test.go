package engine_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/engine"
	"github.com/entente-sync/entente/agent/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// disk is a store that can fail or hang at its commit.
type disk struct {
	store.Store

	mu        sync.Mutex
	committed int
	fail      error
	hang      time.Duration
}

func (d *disk) Update(fn func(store.Tx) error) error {
	time.Sleep(d.hang)
	err := d.Store.Update(func(tx store.Tx) error { return errors.Join(fn(tx), d.fail) })
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.committed++
	}
	return err
}

func (d *disk) commits() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.committed
}

func opened(now int64) core.Event { return core.Opened{NowMillis: now, Entropy: [32]byte{1}} }
func woken(now int64) core.Event  { return core.Woken{NowMillis: now} }

// greeted has one effect: to publish.
func greeted(now int64) core.Event {
	return core.Greeted{NowMillis: now, Pact: "helpdesk", Epoch: 1}
}

func open(d *disk, sink engine.Sink) *engine.Engine {
	return engine.New(engine.Config{Store: d, Core: &core.Config{Site: "acme", Agent: "main"}, Now: time.Now, Sink: sink})
}

func TestStepCommits(t *testing.T) {
	d := &disk{Store: store.NewMemory()}
	e := open(d, func(core.Effect) {})
	if err := e.Step(opened); err != nil {
		t.Fatal(err)
	}
	var incarnation uint64
	err := e.View(func(tx store.Tx) (err error) {
		incarnation, err = core.Incarnation(tx)
		return err
	})
	if steps, stuck := e.Progress(); err != nil || incarnation == 0 || steps != 1 || stuck != 0 || e.Failed() {
		t.Errorf("incarnation %d, %d steps, stuck %s, %v", incarnation, steps, stuck, err)
	}
}

// Before a step returns, its effects are handed on; before they are, it is on disk.
func TestEffectsFollowTheCommit(t *testing.T) {
	d := &disk{Store: store.NewMemory()}
	effects := 0
	e := open(d, func(core.Effect) {
		if effects++; d.commits() == 0 {
			t.Error("an effect before any commit")
		}
	})
	if err := e.Step(opened); err != nil {
		t.Fatal(err)
	}
	before := d.commits()
	if err := e.Step(greeted); err != nil {
		t.Fatal(err)
	}
	if effects == 0 || d.commits() != before+1 {
		t.Errorf("%d effects, %d commits", effects, d.commits())
	}
}

func TestErrorStopsForGood(t *testing.T) {
	full := errors.New("no space left")
	d := &disk{Store: store.NewMemory()}
	effects := 0
	e := open(d, func(core.Effect) { effects++ })
	if err := e.Step(opened); err != nil {
		t.Fatal(err)
	}
	effects = 0
	d.fail = full
	err := e.Step(greeted)
	if !errors.Is(err, engine.ErrStopped) || !errors.Is(err, full) || !strings.Contains(err.Error(), "core.Greeted") {
		t.Errorf("got %v", err)
	}
	d.fail = nil
	if again := e.Step(woken); !errors.Is(again, full) {
		t.Errorf("the next step: %v", again)
	}
	if effects != 0 || d.commits() != 1 || !e.Failed() {
		t.Errorf("%d effects, %d commits, failed %t", effects, d.commits(), e.Failed())
	}
	if err := e.Wait(t.Context()); !errors.Is(err, full) {
		t.Errorf("Wait: %v", err)
	}
}

func TestUnopened(t *testing.T) {
	e := open(&disk{Store: store.NewMemory()}, func(core.Effect) {})
	if err := e.Step(woken); !errors.Is(err, core.ErrUnopened) {
		t.Errorf("got %v", err)
	}
}

func TestWait(t *testing.T) {
	e := open(&disk{Store: store.NewMemory()}, func(core.Effect) {})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Wait(ctx); err != nil {
		t.Errorf("a graceful end: %v", err)
	}
}

// A stalled disk shows while the step hangs, and steps run one after another.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{Store: store.NewMemory(), hang: time.Minute}
		e := open(d, func(core.Effect) {})
		done := make(chan error, 1)
		go func() { done <- e.Step(opened) }()
		time.Sleep(40 * time.Second)
		if steps, stuck := e.Progress(); steps != 0 || stuck != 40*time.Second {
			t.Errorf("%d steps, stuck %s", steps, stuck)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if steps, stuck := e.Progress(); steps != 1 || stuck != 0 {
			t.Errorf("%d steps, stuck %s", steps, stuck)
		}
	})
}

func TestConcurrentSteps(t *testing.T) {
	inside := 0
	e := open(&disk{Store: store.NewMemory()}, func(core.Effect) {})
	if err := e.Step(opened); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			err := e.Step(func(now int64) core.Event { inside++; return woken(now) })
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if steps, _ := e.Progress(); inside != 8 || steps != 9 {
		t.Errorf("%d built, %d steps", inside, steps)
	}
}
