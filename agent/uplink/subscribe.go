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

// feed hands one slice on; heartbeats only move the head.
func (l *Loop) feed(pact crdt.Pact, slice *wire.Slice) error {
	entries := make([]crdt.Register, len(slice.Entries))
	for i := range slice.Entries {
		entries[i] = slice.Entries[i].Register
	}
	err := l.config.Engine.Step(func(now int64) core.Event {
		return core.Fed{NowMillis: now, Pact: pact, Entries: entries, Cursor: slice.Cursor, Head: slice.Head}
	})
	if err != nil {
		return err
	}
	l.update(func(s *Status) {
		p := s.Pacts[pact]
		p.Head, p.Cursor = slice.Head, slice.Cursor.Offset
		s.Pacts[pact] = p
	})
	return nil
}
