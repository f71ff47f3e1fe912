package sim_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// mutant is a bug to be: one text of one file in place of another.
type mutant struct {
	name, file, old, new string
}

func mutants() []mutant {
	return []mutant{
		{
			"retry after an unknown outcome", "agent/core/settle.go",
			"case connectors.ClassUnknown, connectors.ClassMalformed:", "case connectors.ClassMalformed:",
		},
		{
			"cursor before outbox: an op leaves before it is acked", "agent/outbox/outbox.go",
			"if !e.Acked || e.Offset > cursor || len(gone) >= passedMax {", "if e.Offset > cursor || len(gone) >= passedMax {",
		},
		{"create without correlation", "agent/core/create.go", "w.Correlation = in.Record.String()", `w.Correlation = ""`},
		{"absence believed at once", "agent/core/create.go", "return in.SinceMillis + stale.Milliseconds()", "return in.SinceMillis + 0*stale.Milliseconds()"},
		{
			"hub ignores that it knows a seq", "hub/state/publish.go",
			"case op.Seq <= seen:\n\t\treturn p.again(a, op)", "case op.Seq < seen:\n\t\treturn p.again(a, op)",
		},
		{
			"hub takes ops behind a gap", "hub/state/publish.go",
			"case op.Seq != seen+1, !before.IsZero() && !p.knows(before):", "case op.Seq > seen+100:",
		},
		{"base covers one offset too many", "crdt/position.go", "return birth.Offset <= base.Offset", "return birth.Offset <= base.Offset+1"},
		{"loser is not recorded", "hub/state/merge.go", "m.lose(p, rec, current, &s.Register)", "_ = current"},
		{"feed skips the entry behind the cursor", "hub/state/feed.go", "i := f.search(after + 1)", "i := f.search(after + 2)"},
		{
			"no incarnation after a restart", "agent/core/identity.go",
			"s.self.Incarnation = max(s.self.Incarnation+1, known+1, uint64(max(s.now/1000, 0)))", "s.self.Incarnation = max(1, known+1)",
		},
		{"writes without the revision just read", "agent/core/reconcile.go", "w.IfRevision = v.rec.Revision", `w.IfRevision = ""`},
		{"internal comments leave", "agent/binding/comments.go", "r.direction == Receive || c.Internal && !r.internal", "r.direction == Receive"},
		{"delete buries unseen edits", "hub/state/merge.go", "for _, r := range life.Unseen(rec.registers(), p.lineage) {", "for _, r := range life.Unseen(func(func(*crdt.Register) bool) {}, p.lineage) {"},
		{"coarse revisions are believed", "agent/core/observe.go", "const revisionGrainMax = time.Minute", "const revisionGrainMax = -time.Hour"},
		{"404 is forgotten", "agent/core/observe.go", "if before.Attempts >= unlinkedMax {", "if before.Attempts < unlinkedMax {"},
	}
}

// quick is the mutant that is played when nobody asks for more.
const quick = "loser is not recorded"

// TestMutants builds the simulation with one bug at a time and plays seeds until
// one finds it. MUTANTS=1 plays all of them, MUTANTS=<part of a name> some; without
// it one is played, and of the others it is checked that they can be.
func TestMutants(t *testing.T) {
	wanted := os.Getenv("MUTANTS")
	if wanted == "" {
		wanted = quick
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants() {
		if wanted != "1" && !strings.Contains(m.name, wanted) {
			m.patch(t, root)
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			began := time.Now()
			found := m.play(t, root)
			if found == "" {
				t.Fatal("no seed finds it")
			}
			t.Logf("| %s | %s | %.0f s |", m.name, found, time.Since(began).Seconds())
		})
	}
}

var broken = regexp.MustCompile(`SEED=(\d+) breaks ([^:\n]*)`)

// patch returns the mutant's file and its new content.
func (m mutant) patch(t *testing.T, root string) (file, content string) {
	t.Helper()
	file = filepath.Join(root, filepath.FromSlash(m.file))
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(src), m.old); n != 1 {
		t.Fatalf("%s: %s holds the text to be changed %d times: the mutant is out of date", m.name, m.file, n)
	}
	return file, strings.Replace(string(src), m.old, m.new, 1)
}

// play returns what the mutant breaks, "" if nothing.
func (m mutant) play(t *testing.T, root string) string {
	t.Helper()
	dir := t.TempDir()
	file, changed := m.patch(t, root)
	patched := filepath.Join(dir, "patched.go")
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {file: patched}})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	for name, content := range map[string][]byte{patched: []byte(changed), list: overlay} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(dir, "sim.test")
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", list, "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("the mutant does not build: %v\n%s", err, out)
	}
	// A bug may eat all memory, or all time: neither is ours to give.
	run := exec.CommandContext(t.Context(), "sh", "-c", "ulimit -v 4000000; exec "+binary+" -test.run '^TestSeeds$' -test.timeout 5m")
	run.Env = append(os.Environ(), fmt.Sprint("SEEDS=", number("SEEDS", 3000)))
	out, err := run.CombinedOutput()
	if err == nil {
		return ""
	}
	if hit := broken.FindStringSubmatch(string(out)); hit != nil {
		return "seed " + hit[1] + ": " + hit[2]
	}
	t.Fatalf("the mutant fails in another way: %v\n%s", err, out[:min(len(out), 2000)])
	return ""
}
