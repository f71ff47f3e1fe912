package hub

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/entente-sync/entente/crdt"
)

// sitesMax bounds the series that name a site: members beyond that, in the order
// of names, are one series together.
const (
	sitesMax   = 200
	sitesOther = "other"
)

// siteMetric says which members' agents read from this node. Labels are the
// members of the pacts in force, never what a caller says.
type siteMetric struct {
	hub  *Hub
	desc *prometheus.Desc
}

func newSiteMetric(h *Hub) siteMetric {
	return siteMetric{h, prometheus.NewDesc("entente_hub_agents_connected",
		"Agents of a member that read a feed from this node; 0 for a member without any. The sum over the nodes says whether a member is connected. "+
			"Of many members the last are one: other.", []string{"site"}, nil)}
}

// Describe implements prometheus.Collector.
func (m siteMetric) Describe(out chan<- *prometheus.Desc) { out <- m.desc }

// Collect implements prometheus.Collector.
func (m siteMetric) Collect(out chan<- prometheus.Metric) {
	connected := m.hub.server.Connected()
	other := 0
	members := m.hub.sites()
	for i, site := range members {
		if i >= sitesMax {
			other += connected[site]
			continue
		}
		out <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, float64(connected[site]), string(site))
	}
	if len(members) > sitesMax {
		out <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, float64(other), sitesOther)
	}
}

// sites lists the members of all pacts in force, sorted.
func (h *Hub) sites() []crdt.Site {
	all := map[crdt.Site]bool{}
	for _, name := range h.State().Pacts() {
		info, err := h.State().Pact(name)
		if err != nil {
			continue // it is gone since
		}
		for _, site := range info.Pact.Members {
			all[site] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}
