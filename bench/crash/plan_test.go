package crash_test

import (
	"reflect"
	"testing"

	"github.com/entente-sync/entente/bench/crash"
)

// The same seed gives the same plan, another one another, and every class comes
// once in as many rounds as there are.
func TestPlan(t *testing.T) {
	classes := len(crash.Classes())
	if classes < 12 {
		t.Errorf("%d classes", classes)
	}
	differ := false
	firsts := map[crash.Class]int{}
	for round := range 2 * classes {
		plan := crash.Plan(1, round)
		if !reflect.DeepEqual(plan, crash.Plan(1, round)) {
			t.Fatalf("round %d has two plans", round)
		}
		differ = differ || !reflect.DeepEqual(plan, crash.Plan(2, round))
		firsts[plan[0].Class]++
	}
	if !differ {
		t.Error("two seeds plan the same")
	}
	for _, c := range crash.Classes() {
		if firsts[c] != 2 {
			t.Errorf("%s comes first in %d of %d rounds, want 2", c, firsts[c], 2*classes)
		}
	}
}
