package hub

import (
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"github.com/entente-sync/entente/hub/state"
)

// dials counts the dials to each node.
type dials struct {
	mu sync.Mutex
	to map[string]int
}

func (d *dials) next(node string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.to == nil {
		d.to = map[string]int{}
	}
	d.to[node]++
	return d.to[node] - 1
}

// nodeAddress says where to dial a node. What the node itself told the hub comes
// first, and the configuration, which is only the beginning of a hub, in turn
// with it: a hub whose nodes have all moved while they were down finds together
// again. Whoever answers must show that node's certificate.
func (h *Hub) nodeAddress(node string) (string, error) {
	var at []string
	if n, ok := h.roster().Node(node); ok && n.Told() {
		at = append(at, n.Nodes)
	}
	if p, ok := h.peer(node); ok && (len(at) == 0 || at[0] != p.Nodes) {
		at = append(at, p.Nodes)
	}
	if len(at) == 0 {
		return "", fmt.Errorf("no address of node %s is known", node)
	}
	return at[h.dials.next(node)%len(at)], nil
}

// agentAddress says where agents reach a node, "" if that is not known.
func (h *Hub) agentAddress(node string) string {
	if n, ok := h.State().Roster().Node(node); ok && n.Told() {
		return n.Agents
	}
	p, _ := h.peer(node)
	return p.Agents
}

// removed reports whether a node has left for good.
func (h *Hub) removed(node string) bool { return h.roster().IsRemoved(node) }

// roster is what is known of nodes, nothing while this one opens.
func (h *Hub) roster() *state.Roster {
	select {
	case <-h.opened:
		return h.State().Roster()
	default:
		return &state.Roster{}
	}
}

// expires returns when the node's certificate ends.
func (c *Config) expires() (time.Time, error) {
	leaf := c.TLS.Certificates[0].Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(c.TLS.Certificates[0].Certificate[0]); err != nil {
			return time.Time{}, fmt.Errorf("hub config: certificate: %w", err)
		}
	}
	return leaf.NotAfter, nil
}
