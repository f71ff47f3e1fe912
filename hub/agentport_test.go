package hub_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/hub/hubtest"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/wire"
)

// Callers of the port for agents that break HTTP/2's manners, not the protocol's.

// raw is a connection of an agent that says what grpc's client would not.
type raw struct {
	t    *testing.T
	conn net.Conn
	*http2.Framer
	next uint32 // stream
}

func dialRaw(t *testing.T, c *hubtest.Cluster, n *hubtest.Node, who identity.Agent) *raw {
	t.Helper()
	secure := c.TLS(who).Clone()
	secure.NextProtos, secure.ServerName = []string{"h2"}, "127.0.0.1"
	conn, err := tls.Dial("tcp", n.Address(), secure)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	r := &raw{t: t, conn: conn, Framer: http2.NewFramer(conn, conn), next: 1}
	if err := r.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return r
}

// block is the header block of a call, with more headers.
func (r *raw) block(method string, more ...string) []byte {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	headers := [][2]string{
		{":method", "POST"},
		{":scheme", "https"},
		{":path", "/entente.sync.v1.SyncService/" + method},
		{":authority", "hub"},
		{"content-type", "application/grpc"},
		{"te", "trailers"},
	}
	for _, m := range more {
		headers = append(headers, [2]string{"more", m})
	}
	for _, h := range headers {
		if err := enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
			r.t.Fatal(err)
		}
	}
	return b.Bytes()
}

// open begins a call and returns its stream; the error is the connection's.
func (r *raw) open(method string, more ...string) (uint32, error) {
	id := r.next
	r.next += 2
	block := r.block(method, more...)
	first := block[:min(len(block), 16<<10)]
	err := r.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndHeaders: len(first) == len(block)})
	for rest := block[len(first):]; err == nil && len(rest) > 0; {
		part := rest[:min(len(rest), 16<<10)]
		rest = rest[len(part):]
		err = r.WriteContinuation(id, len(rest) == 0, part)
	}
	return id, err
}

// until reads frames up to one that fits; the connection must not end before.
func (r *raw) until(what string, fits func(http2.Frame) bool) {
	r.t.Helper()
	if err := r.conn.SetReadDeadline(time.Now().Add(hubtest.WaitMax)); err != nil {
		r.t.Fatal(err)
	}
	for {
		f, err := r.ReadFrame()
		if err != nil {
			r.t.Fatalf("no %s: %v", what, err)
		}
		if fits(f) {
			return
		}
	}
}

// discard reads until the connection ends.
func (r *raw) discard() {
	for {
		if _, err := r.ReadFrame(); err != nil {
			return
		}
	}
}

func isReset(code http2.ErrCode) func(http2.Frame) bool {
	return func(f http2.Frame) bool {
		reset, ok := f.(*http2.RSTStreamFrame)
		return ok && reset.ErrCode == code
	}
}

// port is a node whose port for agents is misused, and an agent beside.
type port struct {
	t      *testing.T
	c      *hubtest.Cluster
	leader *hubtest.Node
	beside *wire.Client
	epoch  crdt.Epoch
}

func newPort(t *testing.T) *port {
	t.Helper()
	c := hubtest.Start(t, 1, tickets(), nil)
	p := &port{t: t, c: c, leader: c.Leader(), epoch: epochOf(c)}
	hubtest.Eventually(t, "readiness", func() bool { return p.leader.Hub().Readyz() == nil })
	p.beside = c.Client(p.leader, globex)
	p.serves()
	return p
}

// serves fails unless the agent beside is served, and one that comes anew.
func (p *port) serves() {
	p.t.Helper()
	for _, client := range []*wire.Client{p.beside, p.c.Client(p.leader, globex)} {
		r, err := publishOnce(p.t.Context(), client, batch(globex, p.epoch, 1, 1))
		if err != nil || r.Results[0].Outcome != wire.OutcomeApplied {
			p.t.Errorf("the agent beside is answered %+v, %v", r.Results, err)
		}
	}
}

// refused is how many connections were closed with the code.
func (p *port) refused(code string) (n string) {
	w := httptest.NewRecorder()
	p.leader.Hub().Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if rest, ok := strings.CutPrefix(line, `entente_hub_agent_port_refusals_total{code="`+code+`"} `); ok {
			return strings.TrimSpace(rest)
		}
	}
	return "0"
}

// Thousands of calls that are opened and taken back at once: no more of them are
// under way than one connection may have.
func TestRapidReset(t *testing.T) {
	p := newPort(t)
	untouched(t, p.c, func() {
		r := dialRaw(t, p.c, p.leader, acme)
		go r.discard()
		before := runtime.NumGoroutine()
		for i := range 10_000 {
			id, err := r.open("Publish")
			if err = errors.Join(err, r.WriteRSTStream(id, http2.ErrCodeCancel)); err != nil {
				t.Errorf("the connection ended after %d: %v", i, err)
				break
			}
			if i%1000 == 0 {
				p.serves()
				if now := runtime.NumGoroutine(); now > before+1000 {
					t.Errorf("%d goroutines became %d", before, now)
				}
			}
		}
		p.serves()
	})
}

func TestMoreStreamsThanAllowed(t *testing.T) {
	p := newPort(t)
	untouched(t, p.c, func() {
		r := dialRaw(t, p.c, p.leader, acme)
		for range 65 { // nothing is asked yet: each stays open
			if _, err := r.open("Subscribe"); err != nil {
				t.Fatal(err)
			}
		}
		r.until("refusal of the 65th", func(f http2.Frame) bool {
			return isReset(http2.ErrCodeRefusedStream)(f) && f.Header().StreamID == 2*64+1
		})
		p.serves()
	})
}

func TestPingFlood(t *testing.T) {
	p := newPort(t)
	untouched(t, p.c, func() {
		r := dialRaw(t, p.c, p.leader, acme)
		for range 100 {
			if err := r.WritePing(false, [8]byte{1}); err != nil {
				break // closed already
			}
		}
		r.until("end for the pings", func(f http2.Frame) bool {
			away, ok := f.(*http2.GoAwayFrame)
			return ok && away.ErrCode == http2.ErrCodeEnhanceYourCalm
		})
		p.serves()
	})
}

// Each SETTINGS frame asks for an answer. Who reads none is read no further.
func TestSettingsFlood(t *testing.T) {
	p := newPort(t)
	heap := heapBytes()
	untouched(t, p.c, func() {
		r := dialRaw(t, p.c, p.leader, acme)
		wrote := make(chan struct{})
		go func() {
			defer close(wrote)
			for range 2_000_000 {
				if err := r.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 16}); err != nil {
					return
				}
			}
		}()
		for range 20 {
			p.serves()
		}
		if now := heapBytes(); now > heap+16<<20 {
			t.Errorf("the heap grew from %d to %d bytes", heap, now)
		}
		r.conn.Close()
		<-wrote
	})
}

// Headers beyond the limit end the call; a block without an end, the connection.
func TestHeaderBombs(t *testing.T) {
	p := newPort(t)
	untouched(t, p.c, func() {
		r := dialRaw(t, p.c, p.leader, acme)
		if _, err := r.open("Publish", slices.Repeat([]string{strings.Repeat("a", 1<<10)}, 20)...); err != nil {
			t.Fatal(err)
		}
		r.until("refusal", isReset(http2.ErrCodeFrameSize))
		p.serves()

		endless := dialRaw(t, p.c, p.leader, acme)
		err := endless.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: endless.block("Publish")})
		part := bytes.Repeat([]byte{0x82}, 16<<10) // ":method: GET", from one byte each
		for sent := 0; err == nil; sent += len(part) {
			if err = endless.WriteContinuation(1, false, part); sent > 256<<20 {
				t.Fatalf("%d bytes of headers were taken", sent)
			}
		}
		p.serves()
	})
}

// Callers that say nothing at all make room, the oldest first.
func TestSilentCallers(t *testing.T) {
	const most = 64
	p := newPort(t)
	untouched(t, p.c, func() {
		var silent []net.Conn
		for range most + 10 {
			conn, err := net.Dial("tcp", p.leader.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			silent = append(silent, conn)
		}
		hubtest.Eventually(t, "ten refusals", func() bool { return p.refused("crowded.unproven") == "10" })
		for i, conn := range silent[:10] {
			if err := conn.SetReadDeadline(time.Now().Add(hubtest.WaitMax)); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, net.ErrClosed) || isTimeout(err) {
				t.Errorf("connection %d is open: %v", i, err)
			}
		}
		p.serves()
	})
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// One agent has 32 connections; its newest counts.
func TestConnectionsOfOneAgent(t *testing.T) {
	p := newPort(t)
	untouched(t, p.c, func() {
		first := dialRaw(t, p.c, p.leader, acme)
		first.until("settings", func(f http2.Frame) bool { return f.Header().Type == http2.FrameSettings })
		for range 32 {
			dialRaw(t, p.c, p.leader, acme).until("settings", func(f http2.Frame) bool { return f.Header().Type == http2.FrameSettings })
		}
		hubtest.Eventually(t, "the refusal", func() bool { return p.refused("crowded.agent") == "1" })
		if err := first.conn.SetReadDeadline(time.Now().Add(hubtest.WaitMax)); err != nil {
			t.Fatal(err)
		}
		var err error
		for err == nil {
			_, err = first.ReadFrame()
		}
		if isTimeout(err) {
			t.Errorf("the oldest connection is open: %v", err)
		}
		p.serves()
		if _, err := p.c.Client(p.leader, acme).Greet(t.Context(), wire.Hello{}); err != nil {
			t.Errorf("the agent itself: %v", err)
		}
	})
}

// A feed that nobody reads holds what fits a window and a slice, however much
// comes; others get all of it meanwhile.
func TestFeedThatIsNotRead(t *testing.T) {
	const batches, size = 32, 256
	p := newPort(t)
	var asked []byte
	_, err := wire.NewClient(keeper{said: &asked}).Subscribe(t.Context(), "tickets", crdt.Position{Epoch: p.epoch})
	if err == nil {
		t.Fatal("nothing was asked")
	}
	message := append([]byte{0}, binary.BigEndian.AppendUint32(nil, uint32(len(asked)))...)
	const slow = 30
	for range slow {
		r := dialRaw(t, p.c, p.leader, acme)
		id, err := r.open("Subscribe")
		if err = errors.Join(err, r.WriteData(id, false, append(message, asked...))); err != nil {
			t.Fatal(err)
		}
	}
	feed, err := p.beside.Subscribe(t.Context(), "tickets", crdt.Position{Epoch: p.epoch})
	if err != nil {
		t.Fatal(err)
	}
	heap := heapBytes()
	for i := range batches {
		b := batch(globex, p.epoch, crdt.Seq(2+size*i), size)
		for j := range b.Ops {
			b.Ops[j].Value = crdt.Plain(value.Text(strings.Repeat("x", 2<<10)))
		}
		result, err := publishOnce(t.Context(), p.beside, b)
		if err != nil || result.Results[size-1].Outcome != wire.OutcomeApplied {
			t.Fatalf("batch %d: %+v, %v", i, result.Results, err)
		}
	}
	for head := crdt.Offset(0); head < batches*size; {
		s, err := feed.Recv()
		if err != nil {
			t.Fatal(err)
		}
		head = s.Head
	}
	// The state itself is 16 MiB; of each feed, a slice and its frames.
	if now := heapBytes(); now > heap+(64+3*slow)<<20 {
		t.Errorf("the heap grew from %d to %d bytes", heap, now)
	} else {
		t.Logf("the heap grew by %d KiB", (int64(now)-int64(heap))>>10)
	}
	p.serves()
}
