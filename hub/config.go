package hub

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/backup"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/pact"
)

// Config of one node. Which hub and node it is, its certificate says: there is
// no second place where the two could differ. Zero settings mean the defaults of
// withDefaults.
type Config struct {
	// Dir holds everything that this node must not forget; one process at a time.
	Dir string
	// TLS of this node: its certificate first in Certificates, RootCAs and
	// ClientCAs that the hub's agents and nodes chain to. Both ports use it.
	TLS *tls.Config
	// Agents accepts agents, Nodes the hub's other nodes; the hub closes both.
	// Nodes may be nil in a hub of one.
	Agents, Nodes net.Listener
	// Peers are all nodes that found the hub, this one included; every one of them
	// is given the same list. Nil founds a hub of one. Once the hub exists its
	// membership is in its state, and Peers only says where nodes are reached.
	Peers []Peer
	// Join says where nodes of a hub are reached by nodes: this node joins it, and
	// founds nothing. It must have been admitted there.
	Join []string
	// Reached is where this node is reached; nil takes it from Peers.
	Reached *Peer
	// Software names this program's version, for people.
	Software string
	// Sign, if set, makes a node's certificate for a key: this node holds the hub's
	// authority and enrols those who have a token.
	Sign func(public crypto.PublicKey, id identity.Identity, hosts ...string) ([]byte, error)
	// Admin is the path of the admin socket; "" means none.
	Admin string
	// Pacts are put in force when they are newer than what the hub holds.
	Pacts []*pact.Pact

	// Backup is made on schedule by whoever leads; nil means never. Every node is
	// given the same one.
	Backup *backup.Plan

	// DriftMax is how far a stamp may be ahead of the leader's clock.
	DriftMax time.Duration

	Now    func() time.Time
	Random io.Reader
	Log    *slog.Logger
	// Metrics receives the hub's metrics and serves them at /metrics.
	Metrics *prometheus.Registry
	// Exit is called once when the node has stopped itself for good: a failed
	// sync, damage, or a state that differs from its peers'. The process must end;
	// Exit must not wait for Close.
	Exit func(error)

	Limits Limits
	Timing Timing
	Sizes  Sizes

	askMax time.Duration // of one call to another node; tests say less
	speaks command.Kind  // newest that this node says it knows; tests say less
}

// Limits of what members may send.
type Limits struct {
	// OpsPerSecond and BytesPerSecond bound one site in one pact that sets no limit
	// itself. A byte is one of wire.OpBytes.
	OpsPerSecond, BytesPerSecond int
	// PactOpsPerSecond and PactBytesPerSecond bound each pact as a whole.
	PactOpsPerSecond, PactBytesPerSecond int
	// QueueBytes bounds what waits for the log, PactQueueBytes what of it is one
	// pact's.
	QueueBytes, PactQueueBytes int
}

func (l Limits) withDefaults() Limits {
	set(&l.OpsPerSecond, 100_000)
	set(&l.BytesPerSecond, 512*l.OpsPerSecond)
	set(&l.PactOpsPerSecond, 4*l.OpsPerSecond)
	set(&l.PactBytesPerSecond, 4*l.BytesPerSecond)
	set(&l.QueueBytes, 64<<20)
	set(&l.PactQueueBytes, l.QueueBytes/4)
	return l
}

func (l Limits) negative() bool {
	return min(l.OpsPerSecond, l.BytesPerSecond, l.PactOpsPerSecond, l.PactBytesPerSecond, l.QueueBytes, l.PactQueueBytes) < 0
}

// Peer is one node of the hub and where it is reached now.
type Peer struct {
	Node   string
	Nodes  string // host:port for other nodes
	Agents string // host:port for agents
}

// Timing of a node; tests shorten it.
type Timing struct {
	Heartbeat  time.Duration // without a leader for this long, nodes elect one; shorter by default in a hub of one
	Message    time.Duration // one message between nodes takes at most so long; then its connection is given up
	Commit     time.Duration // how soon followers hear of a commit
	Audit      time.Duration // between comparisons of the nodes' digests
	Scrub      time.Duration // between looks at everything on this node's disk
	Checkpoint time.Duration // at most this long between checkpoints
	FeedBeat   time.Duration // a feed is never silent for longer
	BehindMax  time.Duration // a subscriber ahead of this node waits so long for it
	StallMax   time.Duration // a leader that commits nothing for so long is unhealthy
	Drain      time.Duration // for streams to end when the node stops
	Backups    time.Duration // between looks at whether a backup is due; by default a part of the plan's period
	DiskStall  time.Duration // one write may take so long before a leader hands over; six times that long and the node stops
	Govern     time.Duration // between looks at whether the leader owes the hub something
}

// Sizes of a node, in bytes; tests shrink them.
type Sizes struct {
	Checkpoint int64 // of commands applied between checkpoints
	Trailing   int64 // of log kept below a checkpoint for slow nodes
	Segment    int   // of one file of the log, preallocated
	MemTable   int64 // of the store
	// Reserve must be free on the volume for ops to be admitted, half of it for
	// anything to be stored; 0 means a tenth of the volume, within reason, negative
	// none. Ballast is a file that is given up when the volume is full all the same.
	Reserve, Ballast int64
}

func (c Config) withDefaults() Config {
	c.Limits = c.Limits.withDefaults()
	set(&c.speaks, command.KindNewest)
	set(&c.askMax, askMax)
	set(&c.DriftMax, time.Minute)
	if c.Nodes == nil {
		set(&c.Timing.Heartbeat, 200*time.Millisecond) // nobody to wait for
	}
	set(&c.Timing.Heartbeat, 3*time.Second)
	set(&c.Timing.Message, 10*time.Second)
	set(&c.Timing.Commit, 3*time.Millisecond)
	set(&c.Timing.Audit, time.Minute)
	set(&c.Timing.Scrub, time.Hour)
	set(&c.Timing.Checkpoint, 30*time.Second)
	set(&c.Timing.FeedBeat, 10*time.Second)
	set(&c.Timing.BehindMax, 5*time.Second)
	set(&c.Timing.StallMax, 10*time.Second)
	set(&c.Timing.Drain, 5*time.Second)
	if c.Backup != nil {
		set(&c.Timing.Backups, min(max(c.Backup.Every/20, time.Second), time.Minute))
	}
	set(&c.Timing.DiskStall, 5*time.Second)
	set(&c.Timing.Govern, 200*time.Millisecond)
	set(&c.Sizes.Checkpoint, 64<<20)
	set(&c.Sizes.Trailing, 64<<20)
	set(&c.Sizes.Segment, 64<<20)
	set(&c.Sizes.Ballast, 256<<20)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	return c
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate reports the first part of c that cannot work.
func (c *Config) Validate() error {
	self, err := c.identity()
	switch {
	case err != nil:
		return err
	case c.Dir == "":
		return errors.New("hub config: no directory")
	case c.Agents == nil:
		return errors.New("hub config: no listener for agents")
	case c.Exit == nil:
		return errors.New("hub config: no Exit")
	case c.DriftMax < 0 || c.Limits.negative():
		return errors.New("hub config: negative limit")
	}
	if err := c.validatePeers(self); err != nil {
		return err
	}
	seen := map[crdt.Pact]bool{}
	for _, p := range c.Pacts {
		if err := p.Validate(); err != nil {
			return fmt.Errorf("hub config: pact %s: %w", p.Name, err)
		}
		if seen[p.Name] {
			return fmt.Errorf("hub config: pact %s is given twice", p.Name)
		}
		seen[p.Name] = true
	}
	return nil
}

// reached is where this node says it is.
func (c *Config) reached(self string) Peer {
	if c.Reached != nil {
		return *c.Reached
	}
	for _, p := range c.Peers {
		if p.Node == self {
			return p
		}
	}
	return Peer{}
}

func (c *Config) validatePeers(self identity.Node) error {
	switch {
	case len(c.Peers) > 0 && len(c.Join) > 0:
		return errors.New("hub config: peers found a hub together, and join joins one: give one of them")
	case len(c.Join) > 0 && c.Reached == nil:
		return errors.New("hub config: a node that joins must say where it is reached")
	case len(c.Peers)+len(c.Join) > 0 && c.Nodes == nil:
		return errors.New("hub config: other nodes, but no listener for nodes")
	}
	for _, address := range c.Join {
		if err := command.CheckAddress(address); err != nil {
			return fmt.Errorf("hub config: join: %w", err)
		}
	}
	if c.Reached != nil {
		if err := errors.Join(command.CheckAddress(c.Reached.Nodes), command.CheckAddress(c.Reached.Agents)); err != nil {
			return fmt.Errorf("hub config: reached: %w", err)
		}
	}
	if len(c.Peers) == 0 {
		return nil
	}
	seen := map[string]bool{}
	for _, p := range c.Peers {
		if seen[p.Node] {
			return fmt.Errorf("hub config: node %s is given twice", p.Node)
		}
		seen[p.Node] = true
		for _, address := range []string{p.Nodes, p.Agents} {
			if err := command.CheckAddress(address); err != nil {
				return fmt.Errorf("hub config: node %s: %w", p.Node, err)
			}
		}
	}
	if !seen[self.Name] {
		return fmt.Errorf("hub config: this node, %s, is not among the peers", self.Name)
	}
	return nil
}

// identity reads the node's certificate.
func (c *Config) identity() (identity.Node, error) {
	if c.TLS == nil || len(c.TLS.Certificates) == 0 || c.TLS.RootCAs == nil || c.TLS.ClientCAs == nil {
		return identity.Node{}, errors.New("hub config: TLS needs a certificate, RootCAs and ClientCAs")
	}
	pair := c.TLS.Certificates[0]
	leaf := pair.Leaf
	if leaf == nil {
		if len(pair.Certificate) == 0 {
			return identity.Node{}, errors.New("hub config: the certificate is empty")
		}
		var err error
		if leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return identity.Node{}, fmt.Errorf("hub config: certificate: %w", err)
		}
	}
	self, err := identity.NodeFromCertificate(leaf)
	if err != nil {
		return identity.Node{}, fmt.Errorf("hub config: certificate: %w", err)
	}
	return self, nil
}

// NewID makes the id of a new hub, which its nodes' certificates carry.
func NewID(random io.Reader) (command.HubID, error) {
	var id command.HubID
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return id, fmt.Errorf("new hub id: %w", err)
	}
	return id, nil
}

func parseID(s string) (id command.HubID, err error) {
	raw, err := hex.DecodeString(s)
	if err == nil && len(raw) != len(id) {
		err = fmt.Errorf("%d bytes", len(raw))
	}
	copy(id[:], raw)
	return id, err
}
