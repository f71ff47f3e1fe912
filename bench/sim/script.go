package sim

import (
	"fmt"
	"slices"
	"strings"
)

// Script is what is played of a seed. Every action draws from chances of its own,
// so that leaving one out changes no other's. The zero Script is the whole seed.
type Script struct {
	Only    []int // numbers of actions, ascending; nil: all
	Without []int // numbers of the world's mishaps that do not happen
}

// String is the script as SCRIPT= reads it.
func (s Script) String() string { return list(s.Only) + "/" + list(s.Without) }

func list(ns []int) string { return strings.ReplaceAll(strings.Trim(fmt.Sprint(ns), "[]"), " ", ",") }

// ParseScript reads what String wrote.
func ParseScript(text string) (s Script, err error) {
	only, without, _ := strings.Cut(text, "/")
	if s.Only, err = parseList(only); err == nil {
		s.Without, err = parseList(without)
	}
	return s, err
}

func parseList(text string) (ns []int, err error) {
	if text == "" {
		return nil, nil
	}
	for _, word := range strings.Split(text, ",") {
		n := 0
		if _, err := fmt.Sscan(word, &n); err != nil {
			return nil, fmt.Errorf("%q is no list of numbers: %w", text, err)
		}
		ns = append(ns, n)
	}
	return ns, nil
}

// plays reports whether action i is played.
func (s Script) plays(i int) bool {
	if s.Only == nil {
		return true
	}
	_, ok := slices.BinarySearch(s.Only, i)
	return ok
}

// mishaps are the parts of a plan that can be left out.
func (p *plan) mishaps() []func() {
	out := []func(){
		func() { p.crashes = false }, func() { p.network = false }, func() { p.hubDown = false },
		func() { p.restore = false }, func() { p.runaway = false },
	}
	for i := range p.desks {
		d := &p.desks[i]
		for j := range d.faults {
			out = append(out, func() { d.faults[j].Kind = "" })
		}
	}
	return out
}

// without applies a script to a plan.
func (p *plan) without(numbers []int) {
	all := p.mishaps()
	for _, n := range numbers {
		if n >= 0 && n < len(all) {
			all[n]()
		}
	}
}

// Shrink looks for a smaller script of a failed seed that breaks the same
// invariant, in at most runsMax runs.
func (l *Lab) Shrink(failed Result, runsMax int) Script {
	best := Script{}
	fails := func(s Script) bool {
		if runsMax--; runsMax < 0 {
			return false
		}
		v := l.Run(failed.Seed, Options{Script: s}).Violation
		return v != nil && v.Invariant == failed.Violation.Invariant
	}
	for n := range failed.mishaps {
		if s := (Script{best.Only, append(slices.Clone(best.Without), n)}); fails(s) {
			best = s
		}
	}
	all := make([]int, failed.actions)
	for i := range all {
		all[i] = i
	}
	best.Only = all
	for size := (len(best.Only) + 1) / 2; size > 0 && runsMax > 0; size /= 2 {
		for at := 0; at < len(best.Only); {
			less := slices.Delete(slices.Clone(best.Only), at, min(at+size, len(best.Only)))
			if s := (Script{less, best.Without}); len(less) > 0 && fails(s) {
				best = s
				continue
			}
			at += size
		}
	}
	return best
}
