package hub

import (
	"crypto/x509"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// certMetric says when certificates end. Labels are roles and the members of the
// pacts in force, never what a certificate says.
type certMetric struct {
	hub  *Hub
	desc *prometheus.Desc
}

func newCertMetric(h *Hub) certMetric {
	return certMetric{h, prometheus.NewDesc("entente_cert_expiry_timestamp_seconds",
		"When a certificate ends: the node's, that of the authority behind it, or the first of those that a member's agents showed who read a feed from this node. "+
			"Of many members the last are one: other.", []string{"role", "site"}, nil)}
}

// Describe implements prometheus.Collector.
func (m certMetric) Describe(out chan<- *prometheus.Desc) { out <- m.desc }

// Collect implements prometheus.Collector.
func (m certMetric) Collect(out chan<- prometheus.Metric) {
	tell := func(end float64, role, site string) {
		out <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, end, role, site)
	}
	if end, known := m.hub.certificateEnd(); known {
		tell(end, "node", "")
	}
	if end, known := m.hub.authorityEnd(); known {
		tell(end, "authority", "")
	}
	ends := m.hub.server.CertificatesEnd()
	var other time.Time
	for i, site := range m.hub.sites() {
		end, known := ends[site]
		switch {
		case !known:
		case i < sitesMax:
			tell(seconds(end), "agent", string(site))
		case other.IsZero() || end.Before(other):
			other = end
		}
	}
	if !other.IsZero() {
		tell(seconds(other), "agent", sitesOther)
	}
}

func (h *Hub) certificateEnd() (float64, bool) {
	pair := h.cfg.TLS.Certificates[0]
	if pair.Leaf == nil {
		return 0, false
	}
	return seconds(pair.Leaf.NotAfter), true
}

// authorityEnd is the end of the authority's certificate that this node's chains
// to, also where the node's own has ended.
func (h *Hub) authorityEnd() (float64, bool) {
	leaf := h.cfg.TLS.Certificates[0].Leaf
	if leaf == nil || h.cfg.TLS.RootCAs == nil {
		return 0, false
	}
	for _, at := range []time.Time{h.cfg.Now(), leaf.NotAfter, leaf.NotBefore} {
		chains, err := leaf.Verify(x509.VerifyOptions{
			Roots: h.cfg.TLS.RootCAs, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		if err == nil {
			chain := chains[0]
			return seconds(chain[len(chain)-1].NotAfter), true
		}
	}
	return 0, false
}
