package main

import (
	"fmt"
	"strings"

	"github.com/entente-sync/entente/bench/report"
)

// tables says everything in Markdown.
func tables(s *settings, r *report.Run) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s.\n%d nodes, %d publishers, %s registers, %d rounds, windows of %s. Durability: %s.\n\n",
		r.Machine, s.Nodes, s.Writers, report.Short(float64(s.Registers)), s.Rounds, s.Window, r.Durability)
	rows := [][]string{{"what", "median", "spread", "of R"}}
	ceiling := r.Figure("ceiling")
	for _, f := range r.Figures {
		share := ""
		if ceiling != nil && f.Unit == "ops/s" {
			share = fmt.Sprintf("%.2f", f.Median/ceiling.Median)
		}
		rows = append(rows, []string{f.Name, f.String(), f.Around(), share})
	}
	b.WriteString(report.Table(rows))
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "\n%s.\n", note)
	}
	return b.String()
}
