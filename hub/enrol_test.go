package hub_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/hub/admin"
	"github.com/entente-sync/entente/hub/enrol"
	"github.com/entente-sync/entente/hub/hubtest"
	"github.com/entente-sync/entente/hub/replica"
	"github.com/entente-sync/entente/proto/identity/authority"
)

// enrolling is a hub of size nodes, all of which sign.
func enrolling(tb testing.TB, size int) *hubtest.Cluster {
	tb.Helper()
	signer, err := authority.New("signer", time.Now)
	if err != nil {
		tb.Fatal(err)
	}
	return hubtest.Start(tb, size, tickets(), func(cfg *hub.Config) { cfg.Sign = signer.Sign })
}

// token issues one at the leader.
func token(tb testing.TB, c *hubtest.Cluster, node string, until time.Time) enrol.Token {
	tb.Helper()
	t, request, err := enrol.New(c.ID(), node, "", string(c.Authority().CertPEM()), until)
	if err != nil {
		tb.Fatal(err)
	}
	hubtest.Eventually(tb, "a token", func() bool { return hub.Issue(tb.Context(), c.Leader().Hub(), request) == nil })
	return t
}

// Whatever is wrong with a token reads alike and spends nothing: afterwards the
// right one still works, once.
func TestTokensThatOpenNothing(t *testing.T) {
	c := enrolling(t, 3)
	good := token(t, c, "n4", time.Now().Add(time.Hour))
	end := time.Now().Add(time.Second)
	late := token(t, c, "n5", end)
	at := c.Leader()
	try := func(with enrol.Token) string {
		_, err := enrol.Enrol(t.Context(), at.NodeAddress(), with, "localhost:7001", "localhost:7002")
		return codeOf(err)
	}
	time.Sleep(time.Until(end) + time.Millisecond) // its end is the leader's clock's
	before := at.Hub().State().Roster()
	for name, change := range map[string]func(*enrol.Token){
		"expired":        func(t *enrol.Token) { *t = late },
		"another name":   func(t *enrol.Token) { t.Node = "n6" },
		"another secret": func(t *enrol.Token) { t.Secret = late.Secret },
		"an unknown id":  func(t *enrol.Token) { t.ID = "0011223344556677" },
		"no hex":         func(t *enrol.Token) { t.Secret = "sesame" },
	} {
		wrong := good
		change(&wrong)
		if code := try(wrong); code != "token.invalid" {
			t.Errorf("%s: %q", name, code)
		}
	}
	if after := at.Hub().State().Roster(); !reflect.DeepEqual(before.Nodes, after.Nodes) {
		t.Errorf("the nodes were %+v and are %+v", before.Nodes, after.Nodes)
	}
	if code := try(good); code != "" {
		t.Errorf("the right token: %q", code)
	}
	if code := try(good); code != "token.invalid" { // by another key
		t.Errorf("a spent token: %q", code)
	}
	hubtest.Eventually(t, "a bound on tries", func() bool { return try(late) == "enrol.rate" })
}

// Of several that hold one token, at different nodes, exactly one gets in.
func TestTokenRace(t *testing.T) {
	c := enrolling(t, 3)
	one := token(t, c, "n4", time.Now().Add(time.Hour))
	leader := c.Leader().Hub()
	for _, n := range c.Nodes() {
		hubtest.Eventually(t, "the token at "+n.Name, func() bool {
			return len(n.Hub().State().Roster().Tokens) == 1 && n.Hub().Status().Leader == leader.Node().Name
		})
	}
	var mu sync.Mutex
	codes := map[string]int{}
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			_, err := enrol.Enrol(t.Context(), c.Nodes()[i%3].NodeAddress(), one, "localhost:7001", "localhost:7002")
			mu.Lock()
			defer mu.Unlock()
			codes[codeOf(err)]++
		})
	}
	all.Wait()
	if codes[""] != 1 || codes["token.invalid"] != 5 {
		t.Fatalf("answers by code: %v", codes)
	}
}

// An answer that is lost costs no token: the same key may ask again, and no other one.
func TestLostAnswerOfEnrol(t *testing.T) {
	c := enrolling(t, 3)
	one := token(t, c, "n4", time.Now().Add(time.Hour))
	key, err := enrol.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	at := c.Leader().NodeAddress()
	for range 2 {
		if _, err := enrol.EnrolKey(t.Context(), at, one, "localhost:7001", "localhost:7002", key); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := enrol.Enrol(t.Context(), at, one, "localhost:7001", "localhost:7002"); codeOf(err) != "token.invalid" {
		t.Fatalf("another key: %v", err)
	}
}

// Who enrolled and has not joined can be removed: a thief's certificate opens nothing
// from then on, and the name is gone.
func TestWhoHasNotJoinedIsRemoved(t *testing.T) {
	c := enrolling(t, 3)
	stolen := token(t, c, "n4", time.Now().Add(time.Hour))
	if _, err := enrol.Enrol(t.Context(), c.Leader().NodeAddress(), stolen, "localhost:7001", "localhost:7002"); err != nil {
		t.Fatal(err)
	}
	hubtest.Eventually(t, "the removal of n4", func() bool {
		err := c.Leader().Hub().RemoveMember(t.Context(), admin.Remove{Node: "n4"})
		switch codeOf(err) {
		case "", "node.removed":
			return true
		case "leader.none", "leader.lost":
			return false
		}
		t.Fatal(err)
		return false
	})
	for _, n := range c.Nodes() {
		hubtest.Eventually(t, "word of it at "+n.Name, func() bool { return n.Hub().State().Roster().IsRemoved("n4") })
	}
	members(t, c, "the three", func(m admin.Members) bool { return roles(m) == "n1=voter n2=voter n3=voter" })
	if err := c.Leader().Hub().RemoveMember(t.Context(), admin.Remove{Node: "n5"}); codeOf(err) != replica.RefusedUnknown {
		t.Errorf("a name that nobody ever had: %v", err)
	}
}

// Every request of a stranger counts as a try, one for what there is not too, and has a
// connection of its own.
func TestStrangersAskOnceAConnection(t *testing.T) {
	c := enrolling(t, 3)
	at := c.Leader().NodeAddress()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.Authority().CertPEM())
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return replica.DialEnrol(ctx, at, c.ID(), roots)
	}}}
	ask := func() *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://hub/v1/nothing", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		if !resp.Close {
			t.Fatal("the connection may be used again")
		}
		return resp
	}
	if status := ask().StatusCode; status != http.StatusNotFound {
		t.Fatalf("status %d", status)
	}
	hubtest.Eventually(t, "a bound on requests", func() bool { return ask().StatusCode == http.StatusTooManyRequests })
}

// FuzzEnrol sends what a stranger may send. No token is spent, nobody is admitted.
func FuzzEnrol(f *testing.F) {
	c := enrolling(f, 1)
	good := token(f, c, "n4", time.Now().Add(time.Hour))
	at := c.Leader().Hub()
	f.Fuzz(func(t *testing.T, body []byte) {
		var e admin.Enrol
		if json.Unmarshal(body, &e) != nil {
			return
		}
		before := at.State().Roster()
		for _, secret := range []string{e.Secret, good.Secret} { // a thief may know one, and no more
			e.Secret = secret
			if got, err := hub.EnrolRaw(t.Context(), at, e); err == nil {
				t.Fatalf("%s enrolled: %+v", body, got)
			}
		}
		if !reflect.DeepEqual(before, at.State().Roster()) {
			t.Fatalf("%s changed the roster", body)
		}
	})
}
