package hub

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/entente-sync/entente/proto/wire"
)

// metrics of one node. Labels come from constants and from the table of reasons,
// never from what an agent says.
type metrics struct {
	hub      *Hub
	lastUnix atomic.Int64 // of the newest commit of this leader, nanoseconds

	ops     *prometheus.CounterVec
	commit  prometheus.Histogram
	fsync   prometheus.Histogram
	entries prometheus.Counter

	agentPort       *prometheus.CounterVec
	offers          *prometheus.CounterVec
	offersCompleted prometheus.Counter

	applied, committedIndex, checkpoint, term            *prometheus.Desc
	leader, ready, subscribers, pacts, registers         *prometheus.Desc
	logBytes, storeBytes, lastProgress, stalled, stopped *prometheus.Desc
	queueBytes, disputed, unaudited, mismatches          *prometheus.Desc
	portRefusals                                         *prometheus.Desc
	scrubLast, scrubRows, scrubDamage                    *prometheus.Desc
	backedUp, backupBytes, backupFailures                *prometheus.Desc
	diskFree, diskRoom, diskStalled                      *prometheus.Desc
}

func newMetrics(h *Hub) *metrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("entente_hub_"+name, help, nil, nil)
	}
	return &metrics{
		hub: h,
		ops: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "entente_hub_ops_total",
			Help: "Ops answered by this node, by outcome and, where there is one, the reason.",
		},
			[]string{"outcome", "reason"}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "entente_hub_raft_commit_seconds",
			Help:    "Time from proposing an entry to having applied it, as leader.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16),
		}),
		fsync: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "entente_hub_fsync_seconds",
			Help:    "Time that log entries took to be durable on this node's disk.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16),
		}),
		agentPort: newCrowdedMetric(),
		offers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "entente_hub_offered_registers_total",
			Help: "Registers that agents brought back and this node answered, by outcome and, where there is one, the reason.",
		},
			[]string{"outcome", "reason"}),
		offersCompleted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "entente_hub_offers_completed_total",
			Help: "Agents that have brought back all that they hold of a pact, counted by this node as leader.",
		}),
		entries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "entente_hub_raft_entries_committed_total",
			Help: "Log entries that this node committed as leader.",
		}),
		applied:        desc("raft_applied_index", "Newest log entry in the merged state."),
		committedIndex: desc("raft_commit_index", "Newest log entry that this node knows to be committed."),
		checkpoint:     desc("checkpoint_index", "Newest log entry in the state on disk."),
		term:           desc("raft_term", "Current election term."),
		leader:         desc("raft_is_leader", "1 while this node leads and admits ops."),
		ready:          desc("ready", "1 while agents may be sent to this node."),
		subscribers:    desc("feed_subscribers", "Feeds being served."),
		pacts:          desc("pacts", "Pacts in force."),
		registers:      desc("registers", "Current versions in the merged state, over all pacts."),
		logBytes:       desc("raft_log_bytes", "Size of the commands in the log."),
		storeBytes:     desc("store_bytes", "Size of the files in the node's directory."),
		lastProgress:   desc("last_progress_timestamp_seconds", "When this node last committed an entry as leader; 0 for never."),
		stalled:        desc("raft_stalled_seconds", "For how long entries of this leader have waited without one being committed."),
		queueBytes:     desc("queue_bytes", "Size of the commands that wait for the log."),
		disputed:       desc("disputed", "1 while the nodes hold different states and no majority agrees, so that nothing is acked."),
		unaudited:      desc("unaudited", "Audits in a row that did not compare this node's state with a majority's."),
		mismatches: prometheus.NewDesc("entente_digest_mismatch_total",
			"Audits since the start of this node in which two nodes had different states.", nil, nil),
		portRefusals: prometheus.NewDesc("entente_hub_node_port_refusals_total",
			"Connections to the node port that were closed for what a node with a certificate sent, by code.", []string{"code"}, nil),
		scrubLast:      desc("scrub_last_success_timestamp_seconds", "When everything on this node's disk was last read back and found whole; 0 for never."),
		scrubRows:      desc("scrub_rows_total", "Rows and log entries that were read back since the start of this node."),
		scrubDamage:    desc("scrub_errors_total", "Scrubs since the start of this node that found damage, which stops it."),
		backedUp:       desc("snapshot_last_success_timestamp_seconds", "When the newest scheduled backup was verified, as far as this node knows; 0 for never."),
		backupBytes:    desc("snapshot_last_bytes", "Size of that backup."),
		backupFailures: desc("snapshot_failures_total", "Scheduled backups that this node did not make, or could not read back."),
		stopped:        desc("stopped", "1 after this node has stopped itself."),
		diskFree:       desc("disk_free_bytes", "Free on the volume of the node's directory; 0 where that is not watched."),
		diskRoom:       desc("disk_room", "0 while there is enough room on the volume, 1 while ops are refused for want of it, 2 while nothing is stored."),
		diskStalled:    desc("disk_stalled", "1 while a write to the disk does not come back."),
	}
}

// register is called once the replica is open: collecting asks it.
func (m *metrics) register(r prometheus.Registerer) error {
	for i, c := range m.collectors() {
		if err := r.Register(c); err != nil {
			for _, done := range m.collectors()[:i] {
				r.Unregister(done)
			}
			return fmt.Errorf("hub metrics: %w", err)
		}
	}
	return nil
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.ops, m.agentPort, m.offers, m.offersCompleted, m.commit, m.fsync, m.entries, newSiteMetric(m.hub), newCertMetric(m.hub), newPactMetrics(m.hub), m}
}

func (m *metrics) unregister(r prometheus.Registerer) {
	for _, c := range m.collectors() {
		r.Unregister(c)
	}
}

func (m *metrics) committed(took time.Duration, _ int) {
	m.commit.Observe(took.Seconds())
	m.entries.Inc()
	m.lastUnix.Store(m.hub.cfg.Now().UnixNano())
}

func (m *metrics) synced(took time.Duration) { m.fsync.Observe(took.Seconds()) }

func newCrowdedMetric() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "entente_hub_agent_port_refusals_total",
		Help: "Connections to the port for agents that were closed because there were too many, by code.",
	}, []string{"code"})
}

// crowded counts a connection that was closed because there were too many.
func (m *metrics) crowded(code string) { m.agentPort.WithLabelValues(code).Inc() }

func (m *metrics) answered(b wire.BatchResult) { count(m.ops, b.Results) }

func (m *metrics) offered(b wire.BatchResult, completed bool) {
	count(m.offers, b.Results)
	if completed {
		m.offersCompleted.Inc()
	}
}

// count counts runs of equal answers at once: most batches are one run.
func count(in *prometheus.CounterVec, results []wire.OpResult) {
	for from := 0; from < len(results); {
		r, to := results[from], from+1
		for to < len(results) && results[to].Outcome == r.Outcome && results[to].Reason == r.Reason {
			to++
		}
		reason := r.Reason
		if reason != "" && !reason.Known() {
			reason = "other"
		}
		in.WithLabelValues(r.Outcome.String(), string(reason)).Add(float64(to - from))
		from = to
	}
}

func (m *metrics) descs() []*prometheus.Desc {
	return []*prometheus.Desc{
		m.applied, m.committedIndex, m.checkpoint, m.term, m.leader, m.ready, m.subscribers, m.pacts,
		m.registers, m.logBytes, m.storeBytes, m.lastProgress, m.stalled, m.stopped, m.queueBytes, m.disputed, m.unaudited, m.scrubLast,
		m.backedUp, m.backupBytes, m.diskFree, m.diskRoom, m.diskStalled,
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, c := range newClusterMetrics(m.hub) {
		out <- c.desc
	}
	out <- m.mismatches
	out <- m.portRefusals
	out <- m.scrubRows
	out <- m.scrubDamage
	out <- m.backupFailures
	for _, d := range m.descs() {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	for _, c := range newClusterMetrics(m.hub) {
		if v, known := c.value(m.hub); known {
			out <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, v)
		}
	}
	s := m.hub.replica.Status()
	_, digests := m.hub.State().Digests()
	var registers uint64
	for _, d := range digests {
		registers += d.Registers.Count()
	}
	last := 0.0
	if nanos := m.lastUnix.Load(); nanos > 0 {
		last = float64(nanos) / 1e9
	}
	newest, failures := m.hub.backups.status()
	out <- prometheus.MustNewConstMetric(m.backupFailures, prometheus.CounterValue, float64(failures))
	values := []float64{
		float64(s.AppliedIndex), float64(s.CommitIndex), float64(s.Checkpoint), float64(s.Term),
		flag(s.Leading), flag(m.hub.ready() == nil), float64(m.hub.fanout.Subscribers()), float64(len(digests)),
		float64(registers), float64(s.LogBytes), float64(sizeOf(m.hub.cfg.Dir)), last, s.Stalled.Seconds(),
		flag(s.Stopped != nil), float64(s.QueueBytes), flag(s.Disputed), float64(s.Unaudited), seconds(s.ScrubLast),
		seconds(newest.Verified), float64(newest.Bytes), float64(s.FreeBytes), float64(s.Room), flag(s.DiskStalled),
	}
	for desc, n := range map[*prometheus.Desc]uint64{m.mismatches: s.Mismatches, m.scrubRows: s.ScrubRows, m.scrubDamage: s.ScrubDamage} {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n))
	}
	for code, n := range s.PortRefusals {
		out <- prometheus.MustNewConstMetric(m.portRefusals, prometheus.CounterValue, float64(n), code)
	}
	for i, d := range m.descs() {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, values[i])
	}
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1e3
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// sizeOf adds up the files that are there; some vanish meanwhile.
func sizeOf(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil
		}
		if info, err := entry.Info(); err == nil {
			bytes += info.Size()
		}
		return nil
	})
	return bytes
}
