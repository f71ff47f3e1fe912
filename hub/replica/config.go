package replica

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"github.com/entente-sync/entente/hub/command"
)

// Config of one replica. Zero durations and sizes mean the defaults below.
type Config struct {
	// Hub is the name that node certificates carry; Node is this node's stable
	// name. Names, never addresses, are what raft knows.
	Hub, Node string
	// Dir is owned by this replica: log, votes, checkpoints, received snapshots.
	Dir string
	// Listener accepts raft connections; the replica closes it.
	Listener net.Listener
	// AddressOf resolves a node's name to host:port, at each dial.
	AddressOf func(node string) (string, error)
	// Security of the raft port; nil means plain TCP.
	Security *Security
	// Aside, if set, takes connections to the node port that speak another
	// protocol than raft: ProtocolNode from a node with a certificate of this hub, and
	// ProtocolEnrol from anybody. It must not wait, and owns the connection.
	Aside func(protocol string, conn *tls.Conn)
	// Newest is the newest kind that a command may need (command.Needs) to be
	// proposed until Allow says otherwise; 0 means every kind.
	Newest command.Kind
	// Removed, if set, says which nodes have left for good: they may not speak raft.
	Removed func(node string) bool
	// Voters found the cluster if this node holds no state yet. Every founding
	// node must be given the same list. Nil on nodes that join later.
	Voters []string

	// Now is the clock that goes into entries while this node leads.
	Now func() time.Time
	// DriftMax is how far a stamp may be ahead of that clock.
	DriftMax time.Duration
	Log      *slog.Logger
	// Exit is called once, when the replica has stopped itself for good; see
	// ErrStopped. A process ends here. It must not call Close and wait for it.
	Exit func(error)
	// Committed, if set, is told how long each entry of this leader took from
	// being proposed to being applied, and how many commands it joined.
	Committed func(took time.Duration, commands int)
	// Synced, if set, is told how long each write of log entries took to be durable
	// on this node. It must not wait.
	Synced func(took time.Duration)

	HeartbeatTimeout time.Duration // also the election timeout
	LeaderLease      time.Duration
	CommitTimeout    time.Duration // how soon followers hear of a commit
	RPCTimeout       time.Duration // of one raft message
	AuditInterval    time.Duration // between comparisons of the replicas' digests
	ScrubInterval    time.Duration // from the end of one look at everything on disk to the next

	ScrubBytesPerSecond int // that a scrub reads at most

	CheckpointInterval time.Duration // at most this long between checkpoints, if anything changed
	CheckpointBytes    int64         // of commands applied between checkpoints
	TrailingBytes      int64         // of log kept below a checkpoint for slow peers
	MemTableBytes      int64         // of the store; 0 means its own default
	SegmentBytes       int           // of one file of the log, preallocated
	InFlightMax        int           // entries proposed and not applied
	QueueBytes         int           // of commands that wait for an entry
	PactQueueBytes     int           // of them for one pact
	PactFlightBytes    int           // of commands of one pact in entries under way, while others send too

	// DiskStall is how long one write may take before a leader gives up its office;
	// after stallExits times that long the replica stops itself.
	DiskStall time.Duration
	// ReserveBytes must be free on the volume for anything to be admitted, half of
	// it for anything to be stored. 0 means a tenth of the volume, within reason;
	// negative: the volume is not watched.
	ReserveBytes int64
	// BallastBytes is the size of a file that is given up when the volume is full
	// all the same. Negative means none.
	BallastBytes int64

	space     func(dir string) (free, total int64, err error)
	lookEvery time.Duration                  // between looks at the volume
	underLog  func(walStore) walStore        // puts something between log and disk
	vet       func() func(data []byte) error // makes what commands are asked on the raft port; nil: nothing
}

// withDefaults returns c with zero settings filled in.
//
// Heartbeats take the main loop (see transport) and so wait behind disk writes:
// that is why timeouts are seconds. CommitTimeout decides how late a follower's
// feed is: 50 ms, the library's default, is too long.
func (c Config) withDefaults() Config {
	set(&c.HeartbeatTimeout, 3*time.Second)
	set(&c.LeaderLease, c.HeartbeatTimeout/2)
	set(&c.CommitTimeout, 3*time.Millisecond)
	set(&c.RPCTimeout, 10*time.Second)
	set(&c.AuditInterval, time.Minute)
	set(&c.ScrubInterval, time.Hour)
	set(&c.ScrubBytesPerSecond, 8<<20)
	set(&c.CheckpointInterval, 30*time.Second)
	set(&c.CheckpointBytes, 128<<20)
	set(&c.TrailingBytes, 64<<20)
	set(&c.SegmentBytes, 64<<20)
	set(&c.InFlightMax, 8)
	set(&c.QueueBytes, 64<<20)
	set(&c.PactQueueBytes, 16<<20)
	set(&c.PactFlightBytes, 128<<10)
	set(&c.DriftMax, time.Minute)
	set(&c.Newest, command.KindNewest)
	set(&c.DiskStall, 5*time.Second)
	set(&c.BallastBytes, 256<<20)
	set(&c.lookEvery, lookEvery)
	if c.space == nil {
		c.space = spaceOf
	}
	if c.underLog == nil {
		c.underLog = func(w walStore) walStore { return w }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Synced == nil {
		c.Synced = func(time.Duration) {}
	}
	if c.Committed == nil {
		c.Committed = func(time.Duration, int) {}
	}
	return c
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c *Config) validate() error {
	switch {
	case c.Hub == "" || c.Node == "":
		return errors.New("replica: hub and node need names")
	case c.Dir == "":
		return errors.New("replica: no directory")
	case c.Listener == nil || c.AddressOf == nil:
		return errors.New("replica: no listener or no way to find other nodes")
	case c.Exit == nil:
		return errors.New("replica: no Exit")
	case c.LeaderLease > c.HeartbeatTimeout:
		return fmt.Errorf("replica: leader lease %s is longer than the heartbeat timeout %s", c.LeaderLease, c.HeartbeatTimeout)
	}
	return nil
}

// trailingAll lets raft cut nothing of its log.
const trailingAll = 1 << 62

// raftConfig leaves nothing to the library's defaults that matters: snapshots
// are triggered by this package, by bytes, and never by the library's counter.
func (c *Config) raftConfig() *raft.Config {
	return &raft.Config{
		ProtocolVersion:          raft.ProtocolVersionMax,
		LocalID:                  raft.ServerID(c.Node),
		HeartbeatTimeout:         c.HeartbeatTimeout,
		ElectionTimeout:          c.HeartbeatTimeout,
		LeaderLeaseTimeout:       c.LeaderLease,
		CommitTimeout:            c.CommitTimeout,
		MaxAppendEntries:         appendEntriesMax,
		BatchApplyCh:             true, // breaks only a timeout of Apply, which we do not use
		ShutdownOnRemove:         false,
		TrailingLogs:             trailingAll,
		SnapshotInterval:         time.Hour,
		SnapshotThreshold:        1 << 62, // never
		NoSnapshotRestoreOnStart: true,    // Open compares the state with the snapshot itself
		NoLegacyTelemetry:        true,
		Logger:                   newLogger(c.Log, "raft"),
	}
}

func membership(voters []string) raft.Configuration {
	var members raft.Configuration
	for _, node := range voters {
		members.Servers = append(members.Servers, raft.Server{
			Suffrage: raft.Voter, ID: raft.ServerID(node), Address: raft.ServerAddress(node),
		})
	}
	return members
}
