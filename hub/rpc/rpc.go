// Package rpc serves agents: it proves who calls, hands batches to admission in
// the order sent and answers them in that order, and serves feeds. It keeps no
// state of its own beyond the streams that are open.
package rpc

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/admission"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/wire"
)

// Admission takes batches, offers and pact documents.
type Admission interface {
	Admit(who identity.Agent, b wire.Batch) *admission.Pending
	AdmitOffer(who identity.Agent, o wire.Offer) *admission.Pending
	AcceptPact(ctx context.Context, who identity.Agent, document []byte) (wire.Acceptance, error)
}

// Feeds serves subscribers.
type Feeds interface {
	Serve(ctx context.Context, pact crdt.Pact, cursor crdt.Position, allowed func() error, send func(wire.Slice) error) error
}

// State is what a greeting tells of, and what is known of the past.
type State interface {
	Hub() (command.HubID, crdt.Epoch)
	Pact(name crdt.Pact) (state.PactInfo, error)
	// Authors of one agent, the oldest incarnation first.
	Authors(name crdt.Pact, site crdt.Site, agent crdt.AgentName) []state.AuthorState
	// Versions of a register, and registers as they were.
	History(span state.Span) (state.Versions, error)
	AsOf(at state.Moment) (state.Registers, error)
}

// Config of a Server. All fields are needed.
type Config struct {
	Admission Admission
	Feeds     Feeds
	State     State
	// Ready says why this node cannot serve now, or nil.
	Ready    func() *wire.Error
	Now      func() time.Time
	DriftMax time.Duration
}

// Server implements wire.Server. Safe for concurrent use.
type Server struct {
	cfg      Config
	draining chan struct{}
	drain    sync.Once

	publishers, subscribers, readers *streams
}

var _ wire.Server = (*Server)(nil)

// New returns a Server that is not draining.
func New(cfg Config) *Server {
	return &Server{
		cfg: cfg, draining: make(chan struct{}),
		publishers: newStreams(publishersMax), subscribers: newStreams(subscribersMax), readers: newStreams(readersMax),
	}
}

// Connected counts, for each site, the agents that read a feed from this node.
func (s *Server) Connected() map[crdt.Site]int { return s.subscribers.sites() }

// CertificatesEnd tells, for each site with agents that read a feed from this
// node, when the first of their certificates ends.
func (s *Server) CertificatesEnd() map[crdt.Site]time.Time { return s.subscribers.soonest() }

// Drain ends every stream after answering what was admitted, with a reason that
// sends agents to another node. gRPC's own graceful stop waits for streams that
// would never end.
func (s *Server) Drain() { s.drain.Do(func() { close(s.draining) }) }

// Greet implements wire.Server.
func (s *Server) Greet(ctx context.Context, h wire.Hello) (wire.Welcome, error) {
	who, err := s.caller(ctx)
	if err != nil {
		return wire.Welcome{}, err
	}
	if h.Protocol > wire.Protocol {
		return wire.Welcome{}, wire.Errorf(wire.ReasonVersionNewer, "protocol %d, this hub speaks %d", h.Protocol, wire.Protocol)
	}
	hub, epoch := s.cfg.State.Hub()
	welcome := wire.Welcome{
		Protocol: wire.Protocol, Hub: hub.String(), Epoch: epoch,
		TimeMillis: s.cfg.Now().UnixMilli(), DriftMax: s.cfg.DriftMax,
		Pacts: make([]wire.PactState, len(h.Pacts)),
	}
	for i, name := range h.Pacts {
		welcome.Pacts[i] = s.pactState(who, name)
	}
	return welcome, nil
}

func (s *Server) pactState(who identity.Agent, name crdt.Pact) wire.PactState {
	info, refused := s.member(who, name)
	if refused != nil {
		return wire.PactState{Pact: name, Refused: refused.Reason}
	}
	out := wire.PactState{
		Pact: name, Document: info.Document, Version: info.Pact.Version, Head: info.Head, Lineage: info.Lineage,
	}
	authors := s.cfg.State.Authors(name, who.Site, who.Name)
	for _, a := range authors[max(0, len(authors)-wire.AuthorsTold):] {
		out.Authors = append(out.Authors, wire.AuthorState{Author: a.Author, Seen: a.Seen, Applied: a.Applied, Heard: a.Heard})
	}
	return out
}

// Publish implements wire.Server.
func (s *Server) Publish(ctx context.Context, stream wire.PublishStream) error {
	who, leave, err := s.enter(ctx, s.publishers)
	if err != nil {
		return err
	}
	defer leave()
	return pipe(ctx, s.draining, stream, func(b wire.Batch) *admission.Pending { return s.cfg.Admission.Admit(who, b) })
}

// Offer implements wire.Server. An offer is a publisher among the others.
func (s *Server) Offer(ctx context.Context, stream wire.OfferStream) error {
	who, leave, err := s.enter(ctx, s.publishers)
	if err != nil {
		return err
	}
	defer leave()
	return pipe(ctx, s.draining, stream, func(o wire.Offer) *admission.Pending { return s.cfg.Admission.AdmitOffer(who, o) })
}

// OfferPact implements wire.Server.
func (s *Server) OfferPact(ctx context.Context, document []byte) (wire.Acceptance, error) {
	who, err := s.caller(ctx)
	if err != nil {
		return wire.Acceptance{}, err
	}
	return s.cfg.Admission.AcceptPact(ctx, who, document)
}

// enter admits a caller to one more stream of a kind.
func (s *Server) enter(ctx context.Context, to *streams) (identity.Agent, func(), error) {
	who, err := s.caller(ctx)
	if err != nil {
		return who, nil, err
	}
	leave, err := to.enter(who)
	return who, leave, err
}

// asked is a stream of messages that are answered in the order sent.
type asked[M any] interface {
	Recv() (M, error)
	Send(wire.BatchResult) error
}

// pipe admits what comes while what came before is answered, until the stream or
// this node ends.
func pipe[M any](ctx context.Context, draining <-chan struct{}, stream asked[M], admit func(M) *admission.Pending) error {
	admitted := make(chan *admission.Pending, wire.InFlightMax)
	ended := make(chan error, 1)
	go func() { // ends with the stream, which ends when this call returns
		defer close(admitted)
		for {
			message, err := stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case <-draining:
				ended <- wire.Errorf(wire.ReasonHubDraining, "not taken: send it again elsewhere")
				return
			default:
			}
			select {
			case admitted <- admit(message):
			case <-ctx.Done():
				ended <- context.Cause(ctx)
				return
			}
		}
	}()
	for {
		select {
		case pending, more := <-admitted:
			if !more {
				return endOf(<-ended)
			}
			if err := stream.Send(pending.Wait(ctx)); err != nil {
				return err
			}
		case <-draining:
			return answerRest(ctx, stream, admitted)
		}
	}
}

// answerRest answers what is admitted already and ends the stream. What the
// agent sent and got no answer to it sends again.
func answerRest[M any](ctx context.Context, stream asked[M], admitted <-chan *admission.Pending) error {
	for {
		select {
		case pending, more := <-admitted:
			if more {
				if err := stream.Send(pending.Wait(ctx)); err != nil {
					return err
				}
				continue
			}
		default:
		}
		return wire.Errorf(wire.ReasonHubDraining, "this node stops")
	}
}

func endOf(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Subscribe implements wire.Server.
func (s *Server) Subscribe(ctx context.Context, pact crdt.Pact, cursor crdt.Position, stream wire.FeedStream) error {
	who, err := s.caller(ctx)
	if err != nil {
		return err
	}
	leave, err := s.subscribers.enter(who)
	if err != nil {
		return err
	}
	defer leave()
	s.subscribers.shown(who, certificate(ctx).NotAfter) // caller has seen it
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-s.draining:
			cancel(wire.Errorf(wire.ReasonHubDraining, "this node stops"))
		case <-ctx.Done():
		}
	}()
	allowed := func() error {
		if _, refused := s.member(who, pact); refused != nil {
			return refused
		}
		return nil
	}
	return s.cfg.Feeds.Serve(ctx, pact, cursor, allowed, stream.Send)
}

// member returns where the pact stands, or why the caller may not know.
func (s *Server) member(who identity.Agent, name crdt.Pact) (state.PactInfo, *wire.Error) {
	info, err := s.cfg.State.Pact(name)
	if err != nil {
		return info, wire.Errorf(wire.ReasonPactUnknown, "pact %s", name)
	}
	if !info.Pact.IsMember(who.Site) {
		return info, wire.Errorf(wire.ReasonPactNotMember, "site %s is not a member of pact %s", who.Site, name)
	}
	return info, nil
}

// caller returns the agent that the connection's certificate names, if this node
// can serve at all.
func (s *Server) caller(ctx context.Context) (identity.Agent, error) {
	select {
	case <-s.draining:
		return identity.Agent{}, wire.Errorf(wire.ReasonHubDraining, "this node stops")
	default:
	}
	leaf := certificate(ctx)
	if leaf == nil {
		return identity.Agent{}, wire.Errorf(wire.ReasonAuthorUnknown, "no certificate")
	}
	who, err := identity.AgentFromCertificate(leaf)
	if err != nil {
		return identity.Agent{}, wire.Errorf(wire.ReasonAuthorUnknown, "%w", err)
	}
	if refused := s.cfg.Ready(); refused != nil {
		return identity.Agent{}, refused
	}
	return who, nil
}

// certificate returns what the caller proved to hold; nil without TLS.
func certificate(ctx context.Context) *x509.Certificate {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return nil
	}
	return info.State.PeerCertificates[0]
}
