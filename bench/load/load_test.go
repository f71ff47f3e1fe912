package main

import (
	"bytes"
	"context"
	"os"
	"testing"

	"github.com/entente-sync/entente/bench/load/nodes"
	"github.com/entente-sync/entente/bench/report"
)

func TestMain(m *testing.M) {
	nodes.Child()
	os.Exit(m.Run())
}

func TestArgumentsThatAreRefused(t *testing.T) {
	for _, args := range [][]string{{"-rounds", "0"}, {"-parts", "nothing"}, {"extra"}, {"-window", "-1s"}} {
		if err := run(context.Background(), args, os.Stdout); err == nil || bytes.Contains([]byte(err.Error()), []byte("round 1")) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestMergeCoreIsRead(t *testing.T) {
	var r report.Run
	err := readCore(&r, "cpu: x\nBenchmarkApply-2  \t 1000\t  1500.5 ns/op\t 660000 ops/s\t 300 B/op\t 2 allocs/op\nPASS\n")
	if err != nil || r.Figure("merge core").Median != 1500.5 || r.Figure("merge core's allocations").Median != 2 {
		t.Errorf("%v, %+v", err, r.Figures)
	}
	if readCore(&r, "PASS\n") == nil {
		t.Error("no benchmark is accepted")
	}
}
