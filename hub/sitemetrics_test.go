package hub_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/hub/hubtest"
)

func served(h *hub.Hub) string {
	r := httptest.NewRecorder()
	h.Handler().ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return r.Body.String()
}

// Who is connected is told of members alone, of those who are away too; of many
// the last are one series. Certificates and the disk are told as well.
func TestConnectedSites(t *testing.T) {
	pacts := tickets()
	for i := range 6 { // of 52 members each, acme and globex among them
		p := *pacts[0]
		p.Name = crdt.Pact(fmt.Sprintf("tickets-%d", i))
		p.Members = slices.Clone(p.Members)
		for j := range 50 {
			p.Members = append(p.Members, crdt.Site(fmt.Sprintf("site-%03d", 50*i+j)))
		}
		pacts = append(pacts, &p)
	}
	c := hubtest.Start(t, 1, pacts, nil)
	h := c.Leader().Hub()
	if err := newPublisher(c, acme).publish(t.Context(), 1, 1); err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{"acme", "acme", "site-299"} { // one agent twice
		agent := acme
		agent.Site = crdt.Site(who)
		feed, err := c.Client(c.Nodes()[0], agent).Subscribe(t.Context(), "tickets-5", crdt.Position{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := feed.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	text := served(h)
	for _, want := range []string{
		`entente_hub_agents_connected{site="acme"} 1`, `entente_hub_agents_connected{site="globex"} 0`, `entente_hub_agents_connected{site="other"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if n := strings.Count(text, "\nentente_hub_agents_connected{"); n != 201 {
		t.Errorf("%d series for 302 members, want 200 and one", n)
	}
	for _, role := range []string{"node", "authority"} {
		if !regexp.MustCompile(`entente_cert_expiry_timestamp_seconds\{role="` + role + `",site=""\} [1-9]\.`).MatchString(text) {
			t.Errorf("no end of the certificate of the %s", role)
		}
	}
	for _, site := range []string{"acme", "other"} { // site-299 is beyond the bound
		if !regexp.MustCompile(`entente_cert_expiry_timestamp_seconds\{role="agent",site="` + site + `"\} [1-9]\.`).MatchString(text) {
			t.Errorf("no end of the certificate of an agent of %s", site)
		}
	}
	if n := strings.Count(text, `entente_cert_expiry_timestamp_seconds{role="agent"`); n != 2 {
		t.Errorf("the ends of %d agents' certificates, want those of the two sites that are there", n)
	}
	if !regexp.MustCompile(`entente_hub_fsync_seconds_count [1-9]`).MatchString(text) {
		t.Error("no write to the disk was measured")
	}
}
