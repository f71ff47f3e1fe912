package hub

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/entente-sync/entente/hub/replica"
)

// clusterMetric is one gauge that says how the node stands in its hub. Labels are
// constants: the node's own facts, never what somebody sent.
type clusterMetric struct {
	desc  *prometheus.Desc
	value func(*Hub) (float64, bool) // false: unknown now
}

func newClusterMetrics(h *Hub) []clusterMetric {
	desc := func(name, help string, labels prometheus.Labels) *prometheus.Desc {
		return prometheus.NewDesc("entente_"+name, help, nil, labels)
	}
	return []clusterMetric{
		{
			desc("build_info", "1; its labels say which program runs.", prometheus.Labels{"role": "hub", "software": h.cfg.Software}),
			func(*Hub) (float64, bool) { return 1, true },
		},
		{
			desc("hub_raft_last_contact_seconds", "How long ago this node last heard from the leader; 0 on the leader.", nil),
			func(h *Hub) (float64, bool) {
				last, leads := h.replica.LastContact()
				if leads {
					return 0, true
				}
				return time.Since(last).Seconds(), !last.IsZero()
			},
		},
		{
			desc("hub_raft_voters", "Nodes of the hub that vote, as this node knows them.", nil),
			func(h *Hub) (float64, bool) { voters, _ := h.quorum(); return float64(voters), voters > 0 },
		},
		{
			desc("hub_raft_failure_tolerance", "How many more nodes may fail before the hub takes no writes, as the leader knows it.", nil),
			func(h *Hub) (float64, bool) {
				voters, tolerance := h.quorum()
				return float64(tolerance), voters > 0 && h.replica.Leading()
			},
		},
		{
			desc("hub_snapshot_every_seconds", "Period of the scheduled backups; 0 if there is no schedule.", nil),
			func(h *Hub) (float64, bool) {
				if h.cfg.Backup == nil {
					return 0, true
				}
				return h.cfg.Backup.Every.Seconds(), true
			},
		},
	}
}

func (h *Hub) quorum() (voters, tolerance int) {
	members, err := h.replica.Members()
	if err != nil {
		return 0, 0
	}
	for _, m := range members {
		if m.Voter {
			voters++
		}
	}
	view := replica.View{Members: members}
	return voters, max(0, view.Tolerance())
}
