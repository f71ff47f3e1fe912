package promrules

import (
	"fmt"
	"log/slog"
	"regexp"
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// scraped are labels that Prometheus itself adds to every series.
var scraped = []string{"instance", "job"}

// check reads one rule file and says what is wrong with it.
func check(text []byte, served map[string]metric) (problems []string) {
	p := parser.NewParser(parser.Options{})
	groups, errs := rulefmt.Parse(text, false, model.UTF8Validation, p, slog.New(slog.DiscardHandler))
	for _, err := range errs {
		problems = append(problems, err.Error())
	}
	if len(errs) > 0 {
		return problems
	}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			expr, err := p.ParseExpr(r.Expr)
			if err != nil { // the file's own check lets none through
				problems = append(problems, err.Error())
				continue
			}
			for _, problem := range checkExpr(expr, served) {
				problems = append(problems, r.Alert+r.Record+": "+problem)
			}
		}
	}
	return problems
}

// checkExpr says which metrics and labels of an expression no node serves.
func checkExpr(expr parser.Expr, served map[string]metric) (problems []string) {
	known, asked := slices.Clone(scraped), 0
	var grouped []string
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			asked++
			labels, found := labelsOf(n.Name, served)
			if !found {
				problems = append(problems, n.Name+" is not in docs/metrics.md")
			}
			known = append(known, labels...)
			problems = append(problems, checkMatchers(n, labels)...)
		case *parser.AggregateExpr:
			grouped = append(grouped, n.Grouping...)
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				grouped = append(grouped, n.VectorMatching.MatchingLabels...)
			}
		}
		return nil
	})
	if asked == 0 {
		problems = append(problems, "it asks for no metric")
	}
	for _, label := range grouped {
		if !slices.Contains(known, label) {
			problems = append(problems, "no metric of it has the label "+label)
		}
	}
	return problems
}

func checkMatchers(s *parser.VectorSelector, known []string) (problems []string) {
	for _, m := range s.LabelMatchers {
		if m.Name != model.MetricNameLabel && !slices.Contains(append(scraped, known...), m.Name) {
			problems = append(problems, fmt.Sprintf("%s has no label %s", s.Name, m.Name))
		}
	}
	return problems
}

var ofHistogram = regexp.MustCompile(`_(bucket|count|sum)$`)

// labelsOf returns the labels of a metric, or of the histogram that a series is of.
func labelsOf(name string, served map[string]metric) (labels []string, found bool) {
	if m, found := served[name]; found {
		return m.labels, true
	}
	m, found := served[ofHistogram.ReplaceAllString(name, "")]
	return append([]string{"le"}, m.labels...), found
}
