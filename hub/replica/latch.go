package replica

import (
	"errors"
	"fmt"
	"sync"
)

// ErrStopped reports a replica that stopped itself for good: a failed sync, a
// damaged log or a state that differs from its peers'. It is wrapped by the cause.
var ErrStopped = errors.New("replica stopped itself")

// latch turns the first fatal fault into the end of the node. A disk that failed
// once may report success later for data that it dropped; a replica that
// diverged may only do harm.
type latch struct {
	exit    func(error)
	tripped chan struct{} // closed after exit was called

	mu       sync.Mutex
	cause    error
	poisoned error // the cause, if it was a failed write
}

func newLatch(exit func(error)) *latch { return &latch{exit: exit, tripped: make(chan struct{})} }

// trip records the first cause, calls exit once, and returns the cause.
func (l *latch) trip(cause error) error {
	l.mu.Lock()
	first := l.cause == nil
	if first {
		l.cause = fmt.Errorf("%w: %w", ErrStopped, cause)
	}
	cause = l.cause
	l.mu.Unlock()
	if first {
		l.exit(cause)
		close(l.tripped)
	}
	return cause
}

// poison is trip after a failed write.
func (l *latch) poison(cause error) error {
	l.mu.Lock()
	if l.poisoned == nil {
		l.poisoned = fmt.Errorf("%w: %w", ErrStopped, cause)
	}
	l.mu.Unlock()
	return l.trip(cause)
}

// disk returns the failed write after which nothing may be written, or nil.
func (l *latch) disk() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.poisoned
}

// err returns why the replica stopped, or nil.
func (l *latch) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}
