package pactfile_test

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/pact/pactfile"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestLoad(t *testing.T) {
	src, err := os.ReadFile("testdata/ops-incidents.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, findings := pactfile.Load("ops-incidents.yaml", src)
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	if p.Name != "ops-incidents" || p.Version != 3 || p.Limits.OpsPerSecond != 500 || len(p.Fields) != 9 {
		t.Errorf("%+v", p)
	}
	if f, ok := p.Field("impact_note"); !ok || !reflect.DeepEqual(f.Writers, []crdt.Site{"globex"}) {
		t.Errorf("%+v", f)
	}
	if q, err := pact.Decode(p.Encode()); err != nil || q.Version != 3 {
		t.Errorf("%v", err)
	}
}

// No history and no word on history are two things.
func TestHistoryDays(t *testing.T) {
	src, err := os.ReadFile("testdata/ops-incidents.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{"": 0, ", history_days: 0": pact.HistoryNone, ", history_days: 30": 30} {
		changed := strings.Replace(string(src), "records: 100000", "records: 100000"+text, 1)
		p, findings := pactfile.Load("ops.yaml", []byte(changed))
		if len(findings) > 0 || p.Limits.HistoryDays != want {
			t.Errorf("%q: %v, %v", text, findings, p)
		}
	}
}

// TestBroken compares the findings of every broken file with its golden ones.
func TestBroken(t *testing.T) {
	files, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %d files", err, len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p, findings := pactfile.Load(filepath.Base(file), src)
			if p != nil || len(findings) == 0 {
				t.Fatalf("a broken pact was loaded: %+v", p)
			}
			var got strings.Builder
			for _, f := range findings {
				got.WriteString(f.Error() + "\n")
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || got.String() != string(want) {
				t.Errorf("%v\ngot  %swant %s", err, got.String(), want)
			}
		})
	}
}

func FuzzLoad(f *testing.F) {
	src, err := os.ReadFile("testdata/ops-incidents.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(src)
	f.Fuzz(func(t *testing.T, src []byte) {
		p, findings := pactfile.Load("fuzz.yaml", src)
		if (p == nil) == (len(findings) == 0) {
			t.Fatalf("pact %v with %d findings", p, len(findings))
		}
		if p != nil && p.Validate() != nil {
			t.Fatal("loaded a pact that is not valid")
		}
	})
}
