package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entente-sync/entente/bench/report"
	"github.com/entente-sync/entente/bench/workload"
)

// memory merges in a map, or in one that keeps what arrives last.
type memory struct {
	forgetful bool

	mu   sync.Mutex
	rows map[uint32][]byte
}

func (m *memory) Apply(_ context.Context, ops []workload.Op) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range ops {
		b := encode(&ops[i])
		if old := m.rows[ops[i].Register]; m.forgetful && old != nil || bytes.Compare(old, b) > 0 {
			continue
		}
		m.rows[ops[i].Register] = b
	}
	return nil
}

func (m *memory) Read(_ context.Context, register uint32) (workload.Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return decode(m.rows[register])
}

// The driver fills, measures, and finds a store that holds something else.
func TestDrive(t *testing.T) {
	s := &settings{Registers: 300, Window: 50 * time.Millisecond, Seed: 1}
	rate, err := drive(t.Context(), s, &memory{rows: map[uint32][]byte{}}, load{clients: 8, batch: 16})
	if err != nil || rate <= 0 {
		t.Errorf("%v ops/s, %v", rate, err)
	}
	_, err = drive(t.Context(), s, &memory{forgetful: true, rows: map[uint32][]byte{}}, load{clients: 8, batch: 16})
	if err == nil || !strings.Contains(err.Error(), "holds") {
		t.Errorf("a store that keeps the first version: %v", err)
	}
}

// Encoded values order as versions do, which etcd and Redis rely on.
func TestEncodedOrder(t *testing.T) {
	value := make([]byte, workload.ValueBytes)
	var ops []workload.Op
	for _, stamp := range []uint64{1, 255, 256, 1 << 40} {
		for writer := range workload.WritersMax {
			ops = append(ops, workload.Op{Stamp: stamp, Writer: writer, Value: value})
		}
	}
	for i := range ops {
		v, err := decode(encode(&ops[i]))
		if err != nil || v != (workload.Version{Stamp: ops[i].Stamp, Writer: ops[i].Writer}) {
			t.Errorf("%+v, %v", v, err)
		}
		if i > 0 && bytes.Compare(encode(&ops[i-1]), encode(&ops[i])) >= 0 {
			t.Errorf("%+v is not before %+v", ops[i-1], ops[i])
		}
	}
	if _, err := decode([]byte("short")); err == nil {
		t.Error("a short value is accepted")
	}
}

func TestTable(t *testing.T) {
	s := &settings{Rounds: 1, Registers: 100, Window: time.Second}
	all := []system{{name: oursName, nodes: 3, durability: majority}, {name: "other", nodes: 1, durability: "none"}}
	r := &report.Run{}
	r.Add(oursName, "ops/s", 300)
	r.Add("other", "ops/s", 100)
	if got := table(s, r, all); !strings.Contains(got, "| 3.00 ") || !strings.Contains(got, "| none ") {
		t.Errorf("%s", got)
	}
}

func TestMissingIsSaid(t *testing.T) {
	if onPath("no-such-program")() == nil {
		t.Error("a program that is not there is found")
	}
	names := map[string]bool{}
	for _, system := range systems() {
		if names[system.name] || system.durability == "" || system.nodes == 0 {
			t.Errorf("row %q", system.name)
		}
		names[system.name] = true
	}
	for _, args := range [][]string{{"-rounds", "0"}, {"extra"}, {"-registers", "1"}, {"-only", "nobody"}} {
		if err := run(t.Context(), args, os.Stdout); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}
