package rpc

import (
	"context"
	"errors"
	"fmt"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/wire"
)

// History implements wire.Server. Whoever may read a pact's feed may read its
// history.
func (s *Server) History(ctx context.Context, span wire.Span) (wire.Timeline, error) {
	leave, err := s.reader(ctx, span.Key.Pact)
	if err != nil {
		return wire.Timeline{}, err
	}
	defer leave()
	v, err := s.cfg.State.History(state.Span{
		Key: span.Key, From: span.FromMillis, To: span.ToMillis, After: span.After,
		Limit: span.Limit, BytesMax: wire.SliceBytesMax,
	})
	if err != nil {
		return wire.Timeline{}, pastError(span.Key.Pact, err)
	}
	return wire.Timeline{Versions: versions(v.Versions), Next: v.Next, Reach: reach(v.Reach)}, nil
}

// AsOf implements wire.Server.
func (s *Server) AsOf(ctx context.Context, at wire.Moment) (wire.Past, error) {
	leave, err := s.reader(ctx, at.Key.Pact)
	if err != nil {
		return wire.Past{}, err
	}
	defer leave()
	r, err := s.cfg.State.AsOf(state.Moment{
		Pact: at.Key.Pact, Type: at.Key.Type, Record: at.Key.Record, Field: at.Key.Field,
		Millis: at.Millis, After: at.After, Limit: at.Limit, BytesMax: wire.SliceBytesMax,
	})
	if err != nil {
		return wire.Past{}, pastError(at.Key.Pact, err)
	}
	return wire.Past{Versions: versions(r.Versions), Unknown: r.Unknown, Next: r.Next, Reach: reach(r.Reach)}, nil
}

// reader admits a caller who is a member of the pact to one more read of history.
func (s *Server) reader(ctx context.Context, pact crdt.Pact) (leave func(), err error) {
	who, leave, err := s.enter(ctx, s.readers)
	if err != nil {
		return nil, err
	}
	if _, refused := s.member(who, pact); refused != nil {
		leave()
		return nil, refused
	}
	return leave, nil
}

// pastError gives an error of the state its code.
func pastError(pact crdt.Pact, err error) error {
	switch {
	case errors.Is(err, state.ErrPactUnknown):
		return wire.Errorf(wire.ReasonPactUnknown, "pact %s", pact)
	case errors.Is(err, state.ErrHistoryNone):
		return wire.Errorf(wire.ReasonHistoryNone, "pact %s: %w", pact, err)
	case errors.Is(err, state.ErrHistoryBefore):
		return wire.Errorf(wire.ReasonHistoryBefore, "pact %s: %w", pact, err)
	}
	return fmt.Errorf("read the history of pact %s: %w", pact, err)
}

func versions(in []state.Dated) []wire.Version {
	out := make([]wire.Version, len(in))
	for i := range in {
		v := &in[i]
		out[i] = wire.Version{Entry: wire.Entry{Offset: v.Offset, Register: v.Register}, Millis: v.Millis, Replaced: v.Replaced}
	}
	return out
}

func reach(r state.Reach) wire.Reach {
	return wire.Reach{HorizonMillis: r.Horizon, ClockMillis: r.Clock, Head: r.Head}
}
