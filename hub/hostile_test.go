package hub_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/hubtest"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/identity/authority"
	"github.com/entente-sync/entente/proto/wire"
)

// Bad input, and that nothing else is touched by it. Frames that break a rule and
// ops that are malformed: badinput_test.go. The node port's own certificates: package
// replica.

// untouched fails unless every node's pacts are the same after do: registers,
// heads, and what the authors have spent.
func untouched(t *testing.T, c *hubtest.Cluster, do func()) {
	t.Helper()
	unchanged(t, c, func(*command.PactDigest) {}, do)
}

// registersUntouched is untouched where an author spends seqs of its own on what
// is refused for good.
func registersUntouched(t *testing.T, c *hubtest.Cluster, do func()) {
	t.Helper()
	unchanged(t, c, func(d *command.PactDigest) { d.Authors = command.PactDigest{}.Authors }, do)
}

func unchanged(t *testing.T, c *hubtest.Cluster, without func(*command.PactDigest), do func()) {
	t.Helper()
	digests := func() (out [][]command.PactDigest) {
		for _, n := range c.Nodes() {
			_, pacts := n.Hub().State().Digests()
			pacts = slices.Clone(pacts)
			for i := range pacts {
				without(&pacts[i])
			}
			out = append(out, pacts)
		}
		return out
	}
	before := digests()
	do()
	if after := digests(); !reflect.DeepEqual(before, after) {
		t.Errorf("the state was %+v and is %+v", before, after)
	}
}

// Ops of forged authors, outside the pact and from the future are refused for
// good; the state stays as it was, and honest ops go on winning.
func TestHostileOps(t *testing.T) {
	c := hubtest.Start(t, 1, tickets(), nil)
	leader, epoch := c.Leader(), epochOf(c)
	hubtest.Eventually(t, "readiness", func() bool { return leader.Hub().Readyz() == nil })
	if err := newPublisher(c, acme).publish(t.Context(), 1, 5); err != nil {
		t.Fatal(err)
	}
	soon := time.Now().Add(time.Hour).UnixMilli()
	stamp := func(s crdt.Stamp) func(*crdt.Op) { return func(o *crdt.Op) { o.Stamp = s } }
	future := []wire.Reason{wire.ReasonStampFuture, wire.ReasonOpMalformed}
	for i, tc := range []struct {
		name    string
		spoil   func(*crdt.Op)
		reasons []wire.Reason
	}{
		{"another site", func(o *crdt.Op) { o.Author.Site = "globex" }, []wire.Reason{wire.ReasonAuthorForged}},
		{"another agent", func(o *crdt.Op) { o.Author.Agent = "main" }, []wire.Reason{wire.ReasonAuthorForged}},
		{"field outside the pact", func(o *crdt.Op) { o.Key.Field = "salary" }, []wire.Reason{wire.ReasonPactField}},
		{"type outside the pact", func(o *crdt.Op) { o.Key.Type = "invoice" }, []wire.Reason{wire.ReasonPactType}},
		{"field of another writer", func(o *crdt.Op) { o.Key.Field = "note" }, []wire.Reason{wire.ReasonPactWriter}},
		{"in an hour", stamp(crdt.StampOf(soon, 0)), future},
		{"in an hour, counter full", stamp(crdt.StampOf(soon, 1<<16-1)), future},
		{"the last millisecond", stamp(crdt.StampOf(1<<48-1, 0)), future},
		{"below 2^63", stamp(1<<63 - 1), future},
		{"2^63", stamp(1 << 63), future},
		{"before the last stamp", stamp(crdt.StampMax - 1), future},
		{"the last stamp", stamp(crdt.StampMax), future},
	} {
		who := identity.Agent{Site: "acme", Name: crdt.AgentName(fmt.Sprintf("hostile-%d", i))}
		b := batch(who, epoch, 1, 1)
		b.Ops[0].Key.Record = op(acme, 1, "title").Key.Record // one that is there
		tc.spoil(&b.Ops[0])
		check := registersUntouched
		if tc.reasons[0] == wire.ReasonAuthorForged { // nobody's seq is spent
			check = untouched
		}
		check(t, c, func() {
			result, err := publishOnce(t.Context(), c.Client(leader, who), b)
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
				return
			}
			if r := result.Results[0]; r.Outcome != wire.OutcomeRefused || !slices.Contains(tc.reasons, r.Reason) {
				t.Errorf("%s: %s %q, want a refusal with one of %q", tc.name, r.Outcome, r.Reason, tc.reasons)
			}
		})
	}
	honest := batch(globex, epoch, 1, 1)
	honest.Ops[0].Key.Record = op(acme, 1, "title").Key.Record
	honest.Ops[0].Stamp = crdt.StampAt(time.Now())
	result, err := publishOnce(t.Context(), c.Client(leader, globex), honest)
	if err != nil || result.Results[0].Outcome != wire.OutcomeApplied {
		t.Fatalf("an honest op: %+v, %v", result.Results, err)
	}
}

// What was sent before is answered as before, in whatever order it comes again;
// what would leave a gap is turned away. The state does not move.
func TestReplayedAndReorderedBatches(t *testing.T) {
	c := hubtest.Start(t, 1, tickets(), nil)
	leader, epoch := c.Leader(), epochOf(c)
	hubtest.Eventually(t, "readiness", func() bool { return leader.Hub().Readyz() == nil })
	client := c.Client(leader, acme)
	var sent []wire.Batch
	for i := range 10 {
		sent = append(sent, batch(acme, epoch, crdt.Seq(1+10*i), 10))
		if result, err := publishOnce(t.Context(), client, sent[i]); err != nil || result.Results[9].Outcome != wire.OutcomeApplied {
			t.Fatalf("batch %d: %+v, %v", i, result.Results, err)
		}
	}
	untouched(t, c, func() {
		for _, i := range []int{9, 0, 5, 5, 1, 9, 4, 3, 2, 8, 7, 6, 0} {
			result, err := publishOnce(t.Context(), client, sent[i])
			if err != nil {
				t.Fatal(err)
			}
			for j, r := range result.Results {
				if r.Outcome != wire.OutcomeApplied {
					t.Errorf("op %d, sent again: %s %q", 10*i+j+1, r.Outcome, r.Reason)
				}
			}
		}
		late, err := publishOnce(t.Context(), client, batch(acme, epoch, 111, 10))
		if err != nil || late.Results[0].Outcome != wire.OutcomeGap || late.Results[9].Outcome != wire.OutcomeGap {
			t.Errorf("a batch before its predecessor: %+v, %v", late.Results, err)
		}
		stranger, err := publishOnce(t.Context(), c.Client(leader, globex), sent[0])
		if err != nil || stranger.Results[0].Reason != wire.ReasonAuthorForged {
			t.Errorf("replayed by another site: %+v, %v", stranger.Results, err)
		}
	})
}

// Names that somebody makes up leave nothing behind: no memory, no metric.
func TestHundredThousandPactNames(t *testing.T) {
	const names, perGreeting, published = 100_000, wire.PactsMax, 2000
	c := hubtest.Start(t, 1, tickets(), nil)
	leader, epoch := c.Leader(), epochOf(c)
	hubtest.Eventually(t, "readiness", func() bool { return leader.Hub().Readyz() == nil })
	client := c.Client(leader, acme)
	if _, err := publishOnce(t.Context(), client, batch(acme, epoch, 1, 1)); err != nil {
		t.Fatal(err)
	}
	greet := func(from int) {
		var hello wire.Hello
		for i := range perGreeting {
			hello.Pacts = append(hello.Pacts, crdt.Pact(fmt.Sprintf("made-up-%06d", from+i)))
		}
		welcome, err := client.Greet(t.Context(), hello)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range welcome.Pacts {
			if p.Refused != wire.ReasonPactUnknown {
				t.Fatalf("pact %s: %q", p.Pact, p.Refused)
			}
		}
	}
	stream, err := client.Publish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	publish := func(i int) {
		b := batch(acme, epoch, 2, 1)
		b.Pact = crdt.Pact(fmt.Sprintf("made-up-%06d", i))
		b.Ops[0].Key.Pact = b.Pact
		if err := stream.Send(b); err != nil {
			t.Fatal(err)
		}
		if result, err := stream.Recv(); err != nil || result.Results[0].Reason != wire.ReasonPactUnknown {
			t.Fatalf("%+v, %v", result.Results, err)
		}
	}
	greet(0)
	publish(0)
	heap, series := heapBytes(), seriesOf(leader)
	untouched(t, c, func() {
		for from := 0; from < names; from += perGreeting {
			greet(from)
		}
		for i := range published {
			publish(i)
		}
	})
	if now := heapBytes(); now > heap+8<<20 {
		t.Errorf("the heap grew from %d to %d bytes", heap, now)
	}
	if now := seriesOf(leader); now > series {
		t.Errorf("%d metric series became %d", series, now)
	}
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func seriesOf(n *hubtest.Node) (series int) {
	w := httptest.NewRecorder()
	n.Hub().Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if !strings.HasPrefix(line, "#") {
			series++
		}
	}
	return series
}

// A message of 100 MB is refused by its length, with the limit.
func TestHugeMessage(t *testing.T) {
	c := hubtest.Start(t, 1, tickets(), nil)
	leader := c.Leader()
	hubtest.Eventually(t, "readiness", func() bool { return leader.Hub().Readyz() == nil })
	secure := credentials.NewTLS(c.TLS(acme))
	conn, err := grpc.NewClient(leader.Address(), grpc.WithTransportCredentials(secure),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(1<<30)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	untouched(t, c, func() {
		err := sendFrame(t, conn, make(frame, 100<<20))
		if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "vs. 4194304") {
			t.Errorf("100 MB: %v", err)
		}
	})
	if err := newPublisher(c, acme).publish(t.Context(), 1, 1); err != nil {
		t.Error(err)
	}
}

// forger makes certificates of a hub's own authority that no honest one makes.
type forger struct {
	t    *testing.T
	root *x509.Certificate
	key  any
}

func newForger(t *testing.T, a *authority.Authority) *forger {
	t.Helper()
	pair, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	f := &forger{t: t}
	cert, _ := pem.Decode(pair.CertPEM)
	key, _ := pem.Decode(pair.KeyPEM)
	if f.root, err = x509.ParseCertificate(cert.Bytes); err != nil {
		t.Fatal(err)
	}
	if f.key, err = x509.ParsePKCS8PrivateKey(key.Bytes); err != nil {
		t.Fatal(err)
	}
	return f
}

// issue signs a certificate with these URIs that ends then; self signs it with
// its own key.
func (f *forger) issue(ends time.Time, self bool, ids ...identity.Identity) tls.Certificate {
	f.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	var uris []*url.URL
	for _, id := range ids {
		uris = append(uris, id.URI())
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), URIs: uris, NotBefore: ends.Add(-48 * time.Hour), NotAfter: ends,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	parent, signer := f.root, f.key
	if self {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		f.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// wrongCertificates are none that a port for the role may take; other is the
// identity of the other role.
func wrongCertificates(t *testing.T, c *hubtest.Cluster, own, other identity.Identity) map[string]tls.Certificate {
	t.Helper()
	stranger, err := authority.New("stranger", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := newForger(t, c.Authority()), newForger(t, stranger)
	valid := time.Now().Add(time.Hour)
	return map[string]tls.Certificate{
		"the other role":       ours.issue(valid, false, other),
		"another authority":    theirs.issue(valid, false, own),
		"self-signed":          ours.issue(valid, true, own),
		"expired":              ours.issue(time.Now().Add(-time.Hour), false, own),
		"no URI":               ours.issue(valid, false),
		"two URIs":             ours.issue(valid, false, own, own),
		"an URI of each role":  ours.issue(valid, false, own, other),
		"a node of other hubs": ours.issue(valid, false, identity.Node{Hub: strings.Repeat("ab", 16), Name: "n1"}),
	}
}

// Who shows a wrong certificate gets nothing from either port, and moves nothing:
// no state, no term, no leader.
func TestWrongCertificates(t *testing.T) {
	c := hubtest.Start(t, 3, tickets(), func(cfg *hub.Config) { cfg.Timing.Heartbeat = 3 * time.Second }) // terms change for no other reason
	leader := c.Leader()
	if err := newPublisher(c, acme).publish(t.Context(), 1, 5); err != nil {
		t.Fatal(err)
	}
	equalDigests(t, c)
	node := identity.Node{Hub: c.ID(), Name: "n2"}
	term := leader.Hub().Status().Term
	untouched(t, c, func() {
		for name, cert := range wrongCertificates(t, c, acme, node) {
			secure := &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: c.Authority().Pool(), MinVersion: tls.VersionTLS13}
			conn, err := grpc.NewClient(leader.Address(), append(wire.DialOptions(), grpc.WithTransportCredentials(credentials.NewTLS(secure)))...)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := wire.NewClient(conn).Greet(t.Context(), wire.Hello{}); err == nil {
				t.Errorf("the port for agents takes %s", name)
			}
			conn.Close()
		}
		for name, cert := range wrongCertificates(t, c, node, acme) {
			for _, protocols := range [][]string{nil, {"entente-node/1"}} {
				if err := knock(leader.NodeAddress(), cert, protocols); err == nil {
					t.Errorf("the port for nodes takes %s, protocols %q", name, protocols)
				}
			}
		}
	})
	if s := leader.Hub().Status(); !s.Leading || s.Term != term {
		t.Errorf("the leader leads: %v, in term %d, before %d", s.Leading, s.Term, term)
	}
	honest := newForger(t, c.Authority()).issue(time.Now().Add(time.Hour), false, node)
	if err := knock(leader.NodeAddress(), honest, nil); err != nil {
		t.Errorf("the port for nodes refuses a node: %v", err)
	}
	if _, err := c.Client(leader, acme).Greet(t.Context(), wire.Hello{}); err != nil {
		t.Errorf("the port for agents refuses an agent: %v", err)
	}
}

// knock shakes hands and says something that raft does not know, to which only
// who was let in gets an orderly end of the connection.
func knock(address string, cert tls.Certificate, protocols []string) error {
	dialer := tls.Dialer{Config: &tls.Config{
		Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: protocols,
	}}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(hubtest.WaitMax)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte{0xff}); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	if err == nil || errors.Is(err, io.EOF) { // let in, and then not understood
		return nil
	}
	return err
}
