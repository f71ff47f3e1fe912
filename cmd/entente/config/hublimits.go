package config

import "github.com/entente-sync/entente/hub"

// limitsFile bounds what members may send. ops_per_second and bytes_per_second
// are each member's in a pact that sets none; the others are the hub's alone.
type limitsFile struct {
	OpsPerSecond       int64 `yaml:"ops_per_second"`
	BytesPerSecond     int64 `yaml:"bytes_per_second"`
	PactOpsPerSecond   int64 `yaml:"pact_ops_per_second"`
	PactBytesPerSecond int64 `yaml:"pact_bytes_per_second"`
	QueueBytes         int64 `yaml:"queue_bytes"`
	PactQueueBytes     int64 `yaml:"pact_queue_bytes"`
}

// load checks the ranges.
func (f *limitsFile) load(r *reader) hub.Limits {
	const kib, mib, gib = 1 << 10, 1 << 20, 1 << 30
	for _, s := range []struct {
		at            string
		got, min, max int64
	}{
		{"/limits/ops_per_second", f.OpsPerSecond, 1, 1e9},
		{"/limits/bytes_per_second", f.BytesPerSecond, kib, 1024 * gib},
		{"/limits/pact_ops_per_second", f.PactOpsPerSecond, 1, 1e9},
		{"/limits/pact_bytes_per_second", f.PactBytesPerSecond, kib, 1024 * gib},
		{"/limits/queue_bytes", f.QueueBytes, mib, 16 * gib},
		{"/limits/pact_queue_bytes", f.PactQueueBytes, 512 * kib, 16 * gib},
	} {
		if s.got != 0 && (s.got < s.min || s.got > s.max) {
			r.doc.Fail("config.range", s.at, "", "is %d, want %d to %d", s.got, s.min, s.max)
		}
	}
	return hub.Limits{
		OpsPerSecond: int(f.OpsPerSecond), BytesPerSecond: int(f.BytesPerSecond),
		PactOpsPerSecond: int(f.PactOpsPerSecond), PactBytesPerSecond: int(f.PactBytesPerSecond),
		QueueBytes: int(f.QueueBytes), PactQueueBytes: int(f.PactQueueBytes),
	}
}
