package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// subscribe hands the feed of one pact to the core until the stream breaks,
// falls silent, or ctx ends.
func (l *Loop) subscribe(ctx context.Context, client *wire.Client, pact crdt.Pact) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cursor, err := l.config.Memory.FeedCursor(pact)
	if err != nil {
		return local(err)
	}
	stream, err := client.Subscribe(ctx, pact, cursor)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", pact, regreet(err))
	}
	silence := time.AfterFunc(l.config.SilenceMax, func() { cancel(errSilent) })
	defer silence.Stop()
	for {
		silence.Reset(l.config.SilenceMax)
		slice, err := stream.Recv()
		silence.Stop() // our own work is no silence of the hub
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			} else if errors.Is(err, io.EOF) {
				err = errors.New("the hub ended the stream")
			}
			return fmt.Errorf("subscribe to %s: %w", pact, regreet(err))
		}
		l.heard()
		if err := l.feed(pact, &slice); err != nil {
			return local(err)
		}
	}
}

// Bounds of what is fed at once: each portion is one transaction of a small
// store.
const (
	fedEntriesMax = 256
	fedBytesMax   = 256 << 10
)

// feed hands one slice on, in portions; heartbeats only move the head.
func (l *Loop) feed(pact crdt.Pact, slice *wire.Slice) error {
	rest := slice.Entries
	for {
		n, bytes := 0, 0
		for n < len(rest) && n < fedEntriesMax && (n == 0 || bytes+wire.OpBytes(&rest[n].Register.Op) <= fedBytesMax) {
			bytes += wire.OpBytes(&rest[n].Register.Op)
			n++
		}
		fed := core.Fed{Pact: pact, Entries: make([]crdt.Register, n), Cursor: slice.Cursor, Head: slice.Head, Lineage: slice.Lineage}
		for i := range fed.Entries {
			fed.Entries[i] = rest[i].Register
		}
		if n < len(rest) {
			fed.Cursor.Offset = rest[n-1].Offset
		}
		err := l.config.Engine.Step(func(now int64) core.Event {
			fed.NowMillis = now
			return fed
		})
		if err != nil {
			return err
		}
		if rest = rest[n:]; len(rest) == 0 {
			break
		}
	}
	l.update(func(s *Status) {
		p := s.Pacts[pact]
		p.Head, p.Cursor = slice.Head, slice.Cursor.Offset
		s.Pacts[pact] = p
	})
	return nil
}
