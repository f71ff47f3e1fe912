package config

import (
	"time"

	"github.com/entente-sync/entente/hub"
)

// timingFile sets how patient a node is. Left out, each setting has the default
// that suits a disk and a network as one finds them; see timingRanges.
type timingFile struct {
	Heartbeat  time.Duration `yaml:"heartbeat"`
	Message    time.Duration `yaml:"message"`
	Audit      time.Duration `yaml:"audit"`
	Scrub      time.Duration `yaml:"scrub"`
	Checkpoint time.Duration `yaml:"checkpoint"`
	FeedBeat   time.Duration `yaml:"feed_beat"`
	Drain      time.Duration `yaml:"drain"`
	DiskStall  time.Duration `yaml:"disk_stall"`
}

// storageFile sets what a node's disk holds.
type storageFile struct {
	CheckpointBytes int64  `yaml:"checkpoint_bytes"`
	TrailingBytes   int64  `yaml:"trailing_bytes"`
	SegmentBytes    int64  `yaml:"segment_bytes"`
	MemTableBytes   int64  `yaml:"memtable_bytes"`
	ReserveBytes    int64  `yaml:"reserve_bytes"`
	BallastBytes    *int64 `yaml:"ballast_bytes"` // 0 means none
}

// load checks the ranges. Heartbeats wait behind disk writes, so a node whose
// heartbeat is below its disk's worst sync elects in vain.
func (f *timingFile) load(r *reader) hub.Timing {
	for _, s := range []struct {
		at       string
		got      time.Duration
		min, max time.Duration
	}{
		{"/timing/heartbeat", f.Heartbeat, 100 * time.Millisecond, time.Minute},
		{"/timing/message", f.Message, 200 * time.Millisecond, 5 * time.Minute},
		{"/timing/audit", f.Audit, 100 * time.Millisecond, time.Hour},
		{"/timing/scrub", f.Scrub, time.Minute, 30 * 24 * time.Hour},
		{"/timing/checkpoint", f.Checkpoint, 100 * time.Millisecond, time.Hour},
		{"/timing/feed_beat", f.FeedBeat, 100 * time.Millisecond, 20 * time.Second},
		{"/timing/drain", f.Drain, 100 * time.Millisecond, time.Minute},
		{"/timing/disk_stall", f.DiskStall, 500 * time.Millisecond, 5 * time.Minute},
	} {
		if s.got != 0 && (s.got < s.min || s.got > s.max) {
			r.doc.Fail("config.range", s.at, "", "is %s, want %s to %s", s.got, s.min, s.max)
		}
	}
	return hub.Timing{
		Heartbeat: f.Heartbeat, Message: f.Message, Audit: f.Audit, Scrub: f.Scrub,
		Checkpoint: f.Checkpoint, FeedBeat: f.FeedBeat, Drain: f.Drain, DiskStall: f.DiskStall,
	}
}

// load checks the ranges.
func (f *storageFile) load(r *reader) hub.Sizes {
	const kib, mib, gib = 1 << 10, 1 << 20, 1 << 30
	var ballast int64 // the default
	if f.BallastBytes != nil {
		ballast = *f.BallastBytes
	}
	for _, s := range []struct {
		at            string
		got, min, max int64
	}{
		{"/storage/checkpoint_bytes", f.CheckpointBytes, 16 * kib, 16 * gib},
		{"/storage/trailing_bytes", f.TrailingBytes, 16 * kib, 64 * gib},
		{"/storage/segment_bytes", f.SegmentBytes, 64 * kib, gib},
		{"/storage/memtable_bytes", f.MemTableBytes, 2 * mib, gib},
		{"/storage/reserve_bytes", f.ReserveBytes, 16 * mib, 1024 * gib},
		{"/storage/ballast_bytes", ballast, mib, 64 * gib},
	} {
		if s.got != 0 && (s.got < s.min || s.got > s.max) {
			r.doc.Fail("config.range", s.at, "", "is %d, want %d to %d", s.got, s.min, s.max)
		}
	}
	if f.BallastBytes != nil && ballast == 0 {
		ballast = -1
	}
	return hub.Sizes{
		Checkpoint: f.CheckpointBytes, Trailing: f.TrailingBytes,
		Segment: int(f.SegmentBytes), MemTable: f.MemTableBytes,
		Reserve: f.ReserveBytes, Ballast: ballast,
	}
}
