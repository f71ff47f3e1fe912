package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/entente-sync/entente/bench/crash/disk"
	"github.com/entente-sync/entente/bench/crash/link"
	"github.com/entente-sync/entente/bench/crash/load"
	"github.com/entente-sync/entente/bench/process"
	"github.com/entente-sync/entente/proto/identity"
)

// Node is one node: a process or none, a disk, and its wires.
type Node struct {
	Name string

	cluster *Cluster
	index   int
	disk    *disk.FS
	mount   string
	agents  *link.Link   // agents dial it
	links   []*link.Link // this node dials others through them; nil at its own place
	process *process.Process
	paused  bool
}

// address is a port on a loopback address that is this run's own: nothing else
// listens there, before and after a restart.
func (n *Node) address(port int) string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d:%d", 64+pid>>16&63, pid>>8&255, pid&255, port+10*n.index)
}

// Ports of the first node; the next one's are ten higher.
const (
	portAgents  = 7101
	portNodes   = 7102
	portMetrics = 7103
)

func (n *Node) prepare() error {
	n.mount = filepath.Join(n.cluster.dir, n.Name+".disk")
	pair, err := n.cluster.authority.Issue(identity.Node{Hub: n.cluster.hub, Name: n.Name}, "127.0.0.1")
	if err != nil {
		return err
	}
	err = errors.Join(os.Mkdir(n.mount, 0o700),
		os.WriteFile(filepath.Join(n.cluster.dir, n.Name+".crt"), pair.CertPEM, 0o600),
		os.WriteFile(filepath.Join(n.cluster.dir, n.Name+".key"), pair.KeyPEM, 0o600))
	if err != nil {
		return err
	}
	if n.agents, err = link.New(""); err != nil {
		return err
	}
	n.agents.Connect(n.address(portAgents))
	n.links = make([]*link.Link, len(n.cluster.Nodes))
	for _, other := range n.cluster.Nodes {
		if other == n {
			continue
		}
		if n.links[other.index], err = link.New(""); err != nil {
			return err
		}
		n.links[other.index].Connect(other.address(portNodes))
	}
	return n.disk.Mount(n.mount)
}

// configure writes the node's file. Sizes are small, so that segments are closed,
// checkpoints cut the log, and a node that was away needs a snapshot.
func (n *Node) configure() error {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("apiVersion: entente/v1\nkind: Hub")
	say("dir: %s", filepath.Join(n.mount, "data"))
	say("tls: {cert: %s.crt, key: %s.key, ca: ca.crt}", n.Name, n.Name)
	say("listen: {agents: %q, nodes: %q}", n.address(portAgents), n.address(portNodes))
	say("admin: %s.sock", n.Name)
	say("metrics: %q", n.address(portMetrics))
	say("peers:")
	for _, other := range n.cluster.Nodes {
		nodes := other.address(portNodes)
		if l := n.links[other.index]; l != nil {
			nodes = l.Address()
		}
		say("  %s: {agents: %q, nodes: %q}", other.Name, other.agents.Address(), nodes)
	}
	say("pacts: [%s]", strings.Join(n.cluster.pacts, ", "))
	say("timing: {heartbeat: %s, message: 1s, audit: 400ms, checkpoint: 700ms, feed_beat: 400ms, drain: 500ms}", Heartbeat)
	say("storage: {checkpoint_bytes: 98304, trailing_bytes: 196608, segment_bytes: 65536, memtable_bytes: 2097152}")
	return os.WriteFile(filepath.Join(n.cluster.dir, n.Name+".yaml"), []byte(b.String()), 0o600)
}

// Peer is the node as agents reach it.
func (n *Node) Peer() load.Peer { return load.Peer{Name: n.Name, Address: n.agents.Address()} }

// Start runs the node's process.
func (n *Node) Start() (err error) {
	n.process, err = process.Start(n.cluster.dir, n.Name, n.cluster.binary, "hub", "run", "-f", n.Name+".yaml")
	return err
}

// Running reports whether the process is there, paused or not.
func (n *Node) Running() bool {
	if n.process == nil {
		return false
	}
	select {
	case <-n.process.Done():
		return false
	default:
		return true
	}
}

// ExitCode returns how the process ended: -1 by a signal, or while it runs.
func (n *Node) ExitCode() int { return n.process.ExitCode() }

// Done is closed when the process has ended.
func (n *Node) Done() <-chan struct{} { return n.process.Done() }

// Kill ends the process with SIGKILL.
func (n *Node) Kill() error {
	n.paused = false
	return n.process.Kill()
}

// Stop ends the process as an operator does.
func (n *Node) Stop() error { return n.process.Stop(20 * time.Second) }

// Pause stops the process from running until Resume.
func (n *Node) Pause() error {
	n.paused = true
	return n.process.Pause()
}

// Resume lets a paused process run.
func (n *Node) Resume() error {
	if !n.paused {
		return nil
	}
	n.paused = false
	return n.process.Resume()
}

// Dump ends the process; its goroutines are in its log.
func (n *Node) Dump() error { return n.process.Dump() }

// Disk is for faults of it.
func (n *Node) Disk() *disk.FS { return n.disk }

// PowerOff kills the process and takes the power from its disk, which forgets what
// was not synced.
func (n *Node) PowerOff(tear disk.Tear, draw *rand.Rand) error {
	if err := errors.Join(n.Kill(), n.unmount()); err != nil {
		return err
	}
	n.disk.PowerOff(tear, draw)
	return n.disk.Mount(n.mount)
}

// NewDisk gives a node that does not run an empty disk.
func (n *Node) NewDisk() error {
	if err := n.unmount(); err != nil {
		return err
	}
	n.disk.Wipe()
	return n.disk.Mount(n.mount)
}

// unmount tries again while the kernel still releases what a killed process held.
func (n *Node) unmount() error {
	var err error
	for range 100 {
		if err = n.disk.Unmount(); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// Isolate holds everything to and from the node, of nodes and of agents.
func (n *Node) Isolate() {
	for _, other := range n.cluster.Nodes {
		if other != n {
			n.cluster.Cut(n, other)
			n.cluster.Cut(other, n)
		}
	}
	n.agents.Hold(link.Out)
	n.agents.Hold(link.Back)
}

// Slow delays what the node sends and gets, at a rate.
func (n *Node) Slow(delay time.Duration, rate int) {
	for _, l := range n.wires() {
		l.Slow(delay, rate)
	}
}

// HalfOpen kills every connection of the node without a word; it returns how
// many there were.
func (n *Node) HalfOpen() (count int) {
	for _, l := range n.wires() {
		count += l.HalfOpen()
	}
	return count
}

func (n *Node) wires() []*link.Link {
	out := []*link.Link{n.agents}
	for _, other := range n.cluster.Nodes {
		if other != n {
			fromHere, fromThere := links(n, other)
			out = append(out, fromHere, fromThere)
		}
	}
	return out
}

// Ready asks the node whether agents should come.
func (n *Node) Ready(ctx context.Context) bool {
	body, err := n.get(ctx, "/readyz")
	return err == nil && strings.HasPrefix(body, "ok")
}

// Metrics reads the node's metrics that have no labels.
func (n *Node) Metrics(ctx context.Context) (map[string]float64, error) {
	body, err := n.get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	lines := bufio.NewScanner(strings.NewReader(body))
	for lines.Scan() {
		name, text, ok := strings.Cut(lines.Text(), " ")
		if !ok || strings.ContainsAny(name, "{#") {
			continue
		}
		if v, err := strconv.ParseFloat(text, 64); err == nil {
			out[name] = v
		}
	}
	return out, lines.Err()
}

func (n *Node) get(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.address(portMetrics)+path, nil)
	if err != nil {
		return "", err
	}
	request.Close = true
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	return string(body), err
}

// Log returns the end of what the node said.
func (n *Node) Log(bytesMax int) string {
	text, err := os.ReadFile(filepath.Join(n.cluster.dir, n.Name+".log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-bytesMax):])
}

func (n *Node) close() error {
	var errs []error
	if n.process != nil {
		errs = append(errs, n.process.Kill())
	}
	if n.agents != nil {
		errs = append(errs, n.agents.Close())
	}
	for _, l := range n.links {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(append(errs, n.unmount())...)
}

// HealWires ends the faults of the node's wires.
func (n *Node) HealWires() {
	for _, l := range n.wires() {
		l.Heal()
	}
}
