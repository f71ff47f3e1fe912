package wire

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	"github.com/entente-sync/entente/crdt"
	syncv1 "github.com/entente-sync/entente/proto/entente/sync/v1"
)

// Client is an agent's end of one connection. Safe for concurrent use; it owns
// nothing: close the connection yourself.
type Client struct {
	rpc syncv1.SyncServiceClient
}

// NewClient speaks over c.
func NewClient(c grpc.ClientConnInterface) *Client {
	return &Client{rpc: syncv1.NewSyncServiceClient(c)}
}

// Greet opens a session. The answer has one PactState per pact of h, in order.
func (c *Client) Greet(ctx context.Context, h Hello) (Welcome, error) {
	m, err := c.rpc.Greet(ctx, encodeHello(h))
	if err != nil {
		return Welcome{}, fromStatus(err)
	}
	w, err := decodeWelcome(m)
	if err != nil {
		return Welcome{}, err
	}
	if len(w.Pacts) != len(h.Pacts) {
		return Welcome{}, Errorf(ReasonMalformed, "%d pacts in the answer to %d", len(w.Pacts), len(h.Pacts))
	}
	for i, p := range w.Pacts {
		if p.Pact != h.Pacts[i] {
			return Welcome{}, Errorf(ReasonMalformed, "pact %s in the place of %s", p.Pact, h.Pacts[i])
		}
	}
	return w, nil
}

// Publish opens a stream of batches. Cancel ctx to end it at once; or CloseSend
// and Recv until io.EOF.
func (c *Client) Publish(ctx context.Context) (*PublishClient, error) {
	stream, err := c.rpc.Publish(ctx)
	if err != nil {
		return nil, fromStatus(err)
	}
	return &PublishClient{stream: stream}, nil
}

// PublishClient sends batches and receives their results, in order. One
// goroutine may send while another receives.
type PublishClient struct {
	stream syncv1.SyncService_PublishClient
}

// Send sends b, or refuses it with the reason that the hub would give. It does
// not keep b. Keep at most InFlightMax batches unanswered: the hub reads no
// further, so that later ones wait in buffers. A broken stream gives io.EOF; Recv
// then says why.
func (p *PublishClient) Send(b Batch) error {
	m, err := encodeBatch(b)
	if err != nil {
		return err
	}
	return fromStatus(p.stream.Send(m))
}

// Recv returns the next result; io.EOF after CloseSend and the last one.
func (p *PublishClient) Recv() (BatchResult, error) {
	m, err := p.stream.Recv()
	if err != nil {
		return BatchResult{}, fromStatus(err)
	}
	return decodeResult(m)
}

// CloseSend says that no batch follows.
func (p *PublishClient) CloseSend() error { return fromStatus(p.stream.CloseSend()) }

// Offer opens a stream of offers. Cancel ctx to end it at once; or CloseSend and
// Recv until io.EOF.
func (c *Client) Offer(ctx context.Context) (*OfferClient, error) {
	stream, err := c.rpc.Offer(ctx)
	if err != nil {
		return nil, fromStatus(err)
	}
	return &OfferClient{stream: stream}, nil
}

// OfferClient sends offers and receives their results, in order. One goroutine
// may send while another receives.
type OfferClient struct {
	stream syncv1.SyncService_OfferClient
}

// Send sends o, or refuses it with the reason that the hub would give. A broken
// stream gives io.EOF; Recv then says why.
func (o *OfferClient) Send(part Offer) error {
	m, err := encodeOffer(part)
	if err != nil {
		return err
	}
	return fromStatus(o.stream.Send(m))
}

// Recv returns the next result; io.EOF after CloseSend and the last one.
func (o *OfferClient) Recv() (BatchResult, error) {
	m, err := o.stream.Recv()
	if err != nil {
		return BatchResult{}, fromStatus(err)
	}
	return decodeOfferResult(m)
}

// CloseSend says that nothing more is offered.
func (o *OfferClient) CloseSend() error { return fromStatus(o.stream.CloseSend()) }

// OfferPact says that the calling site has accepted a pact document.
func (c *Client) OfferPact(ctx context.Context, document []byte) (Acceptance, error) {
	if err := checkDocument(document); err != nil {
		return Acceptance{}, err
	}
	m, err := c.rpc.OfferPact(ctx, &syncv1.OfferPactRequest{Document: document})
	if err != nil {
		return Acceptance{}, fromStatus(err)
	}
	return decodeAcceptance(m)
}

// History reads a page of versions of one register.
func (c *Client) History(ctx context.Context, span Span) (Timeline, error) {
	m, err := c.rpc.History(ctx, encodeSpan(&span))
	if err != nil {
		return Timeline{}, fromStatus(err)
	}
	return decodeTimeline(span.Key, m)
}

// AsOf reads a page of a record's registers as they were.
func (c *Client) AsOf(ctx context.Context, at Moment) (Past, error) {
	m, err := c.rpc.AsOf(ctx, encodeMoment(&at))
	if err != nil {
		return Past{}, fromStatus(err)
	}
	return decodePast(at.Key, m)
}

// FeedWindow is how many messages of a feed may be under way to one subscriber.
const FeedWindow = 16

// Subscribe reads the feed of pact after cursor, for ever. Cancel ctx to end it.
// An error of the hub, such as ReasonEpochChanged, comes from the first Recv.
func (c *Client) Subscribe(ctx context.Context, pact crdt.Pact, cursor crdt.Position) (*FeedClient, error) {
	stream, err := c.rpc.Subscribe(ctx)
	if err != nil {
		return nil, fromStatus(err)
	}
	first := &syncv1.SubscribeRequest{Pact: string(pact), Cursor: encodePosition(cursor), Credits: FeedWindow}
	if err := stream.Send(first); err != nil && !errors.Is(err, io.EOF) {
		return nil, fromStatus(err)
	}
	return &FeedClient{stream: stream, pact: pact}, nil
}

// FeedClient is one subscription; for one goroutine at a time.
type FeedClient struct {
	stream syncv1.SyncService_SubscribeClient
	pact   crdt.Pact
	used   uint32 // messages consumed since the last grant
}

// Recv waits for the next slice; one without entries is a heartbeat. Calling it
// says that the previous slice has been dealt with: a subscriber that stops
// calling stops the hub after FeedWindow messages.
func (f *FeedClient) Recv() (Slice, error) {
	if f.used >= FeedWindow/2 {
		err := f.stream.Send(&syncv1.SubscribeRequest{Credits: f.used})
		if err != nil && !errors.Is(err, io.EOF) { // at EOF, Recv knows why
			return Slice{}, fromStatus(err)
		}
		f.used = 0
	}
	m, err := f.stream.Recv()
	if err != nil {
		return Slice{}, fromStatus(err)
	}
	f.used++
	return decodeSlice(f.pact, m)
}
