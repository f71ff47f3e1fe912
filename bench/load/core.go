package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/entente-sync/entente/bench/report"
)

// mergeCore runs the state's own benchmark of Apply, beside nothing else.
func mergeCore(ctx context.Context, r *report.Run) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkApply$", "-benchmem", "github.com/entente-sync/entente/hub/state")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return readCore(r, string(out))
}

// readCore finds the figures in what go test says.
func readCore(r *report.Run, text string) error {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || !strings.HasPrefix(words[0], "BenchmarkApply") {
			continue
		}
		found := 0
		for i, word := range words[1:] {
			var name, unit string
			switch word {
			case "ns/op":
				name, unit = "merge core", "ns/op"
			case "allocs/op":
				name, unit = "merge core's allocations", "per op"
			default:
				continue
			}
			v, err := strconv.ParseFloat(words[i], 64)
			if err != nil {
				return err
			}
			r.Add(name, unit, v)
			found++
		}
		if found == 2 {
			return nil
		}
	}
	return errors.New("go test tells no BenchmarkApply")
}
