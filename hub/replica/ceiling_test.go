package replica

import (
	"net"
	"testing"
)

func TestCeilingCommits(t *testing.T) {
	names := []string{"n1", "n2", "n3"}
	addresses := map[string]string{}
	listeners := map[string]net.Listener{}
	for _, name := range names {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[name], addresses[name] = l, l.Addr().String()
	}
	var nodes []*Ceiling
	for _, name := range names {
		c, err := OpenCeiling(Config{
			Hub: "00112233445566778899aabbccddeeff", Node: name, Dir: t.TempDir(), Listener: listeners[name],
			AddressOf: func(node string) (string, error) { return addresses[node], nil }, Voters: names,
			SegmentBytes: 1 << 20, Exit: func(err error) { t.Errorf("%s stopped itself: %v", name, err) },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := c.Close(); err != nil {
				t.Errorf("close %s: %v", name, err)
			}
		}()
		nodes = append(nodes, c)
	}
	var leader *Ceiling
	eventually(t, "a leader", func() bool {
		for _, c := range nodes {
			if c.Leading() {
				leader = c
			}
		}
		return leader != nil
	})
	var waits []func() error
	for i := range 100 {
		waits = append(waits, leader.Start([]byte{byte(i)}))
	}
	for _, wait := range waits {
		if err := wait(); err != nil {
			t.Fatal(err)
		}
	}
}
