package backup

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"filippo.io/age"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/hub/store"
	"github.com/entente-sync/entente/proto/pact"
)

func target(t testing.TB) Target {
	t.Helper()
	return Target{
		Dir: filepath.Join(t.TempDir(), "n1"), Hub: hubID, Node: "n1", Random: rand.Reader, MemTableBytes: 1 << 20,
	}
}

// held reads the state that a restored directory holds.
func held(t testing.TB, to Target) *state.Machine {
	t.Helper()
	s, err := store.Open(filepath.Join(to.Dir, "state"), store.Options{MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	img, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	m := state.New()
	if err := m.Restore(img); err != nil {
		t.Fatal(err)
	}
	return m
}

// What is restored has the registers of the backup, in an epoch of its own that
// knows where it forked.
func TestRestore(t *testing.T) {
	m := machine(t, 20)
	id := identity(t)
	for _, recipients := range [][]age.Recipient{nil, {id.Recipient()}} {
		to := target(t)
		to.Identities = []age.Identity{id}
		got, err := Restore(bytes.NewReader(encode(t, m, recipients...)), to)
		if err != nil {
			t.Fatal(err)
		}
		back := held(t, to)
		hub, now := back.Hub()
		if hub != hubID || now != got.NewEpoch || now == epoch || now == 0 || back.Index() != m.Index()+1 || got.NewIndex != back.Index() {
			t.Fatalf("hub %s, epoch %s at entry %d: %+v", hub, now, back.Index(), got)
		}
		for _, name := range m.Pacts() {
			was, err1 := m.Pact(name)
			is, err2 := back.Pact(name)
			if err := errors.Join(err1, err2); err != nil || was.Digest != is.Digest {
				t.Errorf("pact %s: %+v, want %+v (%v)", name, is.Digest, was.Digest, err)
			}
			if want := (crdt.Fork{Child: now, Parent: epoch, At: was.Head}); len(is.Lineage) != 1 || is.Lineage[0] != want {
				t.Errorf("pact %s: lineage %+v, want %+v", name, is.Lineage, want)
			}
		}
	}
}

func TestRestoreIsGuarded(t *testing.T) {
	m := machine(t, 4)
	b := encode(t, m)
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	unfounded := state.New()
	unfounded.Apply(1, command.Entry{})
	newer := bytes.Clone(b)
	newer[len(magic)]++
	late := headerOf(m)
	late.Term = 1<<64 - 1
	var beyond bytes.Buffer
	if err := Write(&beyond, late, nil, bodyOf(m)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		b      []byte
		change func(*Target)
		want   Code
	}{
		"another hub":        {b, func(to *Target) { to.Hub[0]++ }, CodeOtherHub},
		"own hub as another": {b, func(to *Target) { to.NewCluster = true }, CodeSameHub},
		"in use":             {b, func(to *Target) { to.Dir = full }, CodeNotEmpty},
		"cut off":            {b[:len(b)-1], func(*Target) {}, CodeDamaged},
		"no backup":          {[]byte("nothing of the kind, though long enough"), func(*Target) {}, CodeForeign},
		"newer":              {newer, func(*Target) {}, CodeNewer},
		"sealed":             {encode(t, m, identity(t).Recipient()), func(*Target) {}, CodeSealed},
		"unfounded":          {encode(t, unfounded), func(*Target) {}, CodeUnfounded},
		"no terms left":      {beyond.Bytes(), func(*Target) {}, CodeDamaged},
	} {
		to := target(t)
		c.change(&to)
		if _, err := Restore(bytes.NewReader(c.b), to); !is(err, c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		if _, err := os.Stat(to.Dir); to.Dir != full && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the directory was touched: %v", name, err)
		}
	}
}

// Another hub may begin as a copy if it says so.
func TestRestoreAsNewCluster(t *testing.T) {
	m := machine(t, 4)
	to := target(t)
	to.Hub, to.NewCluster = command.HubID{9}, true
	if _, err := Restore(bytes.NewReader(encode(t, m)), to); err != nil {
		t.Fatal(err)
	}
	if hub, now := held(t, to).Hub(); hub != to.Hub || now == epoch {
		t.Errorf("hub %s, epoch %s", hub, now)
	}
}

func TestNewEpoch(t *testing.T) {
	zeroThenOld := append(make([]byte, 8), 0xe1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0)
	if e, err := newEpoch(bytes.NewReader(zeroThenOld), epoch); err != nil || e != 7 {
		t.Errorf("%s, %v", e, err)
	}
	if _, err := newEpoch(bytes.NewReader(nil), epoch); err == nil {
		t.Error("an epoch out of nothing")
	}
}

// What pacts keep of old versions is in a backup, counted, and answers after the
// restore as it did before.
func TestRestoreHistory(t *testing.T) {
	m := state.New()
	p := &pact.Pact{
		Name: "tickets", Version: 1, Members: []crdt.Site{"acme", "globex"}, Record: "ticket",
		Fields: []pact.Field{{Name: "title", Type: pact.TypeText}}, Limits: pact.Limits{HistoryDays: 3},
	}
	apply := func(millis int64, cs ...command.Command) {
		m.Apply(m.Index()+1, command.Entry{TimeMillis: millis, DriftMaxMillis: 1000, Commands: cs})
	}
	apply(now, &command.Found{Hub: hubID, Epoch: epoch}, &command.PutPact{Document: p.Encode()})
	first := op("tickets", 1)
	second := op("tickets", 2)
	second.Key, second.Base.Pred = first.Key, first.ID()
	apply(now, &command.Publish{Site: "acme", Agent: "main", Pact: "tickets", Epoch: epoch, Ops: []crdt.Op{first}})
	apply(now+5000, &command.Publish{Site: "acme", Agent: "main", Pact: "tickets", Epoch: epoch, Ops: []crdt.Op{second}})
	b := encode(t, m)
	report, err := Check(bytes.NewReader(b), nil)
	if err != nil || report.History != 2 {
		t.Fatalf("%d versions of history, want 2: %v", report.History, err)
	}
	to := target(t)
	if _, err := Restore(bytes.NewReader(b), to); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(filepath.Join(to.Dir, "state"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	back := state.New()
	if err := s.LoadInto(back, s); err != nil {
		t.Fatal(err)
	}
	at := state.Moment{Pact: "tickets", Type: "ticket", Record: first.Key.Record, Millis: now + 4000, Limit: 9, BytesMax: 1 << 20}
	got, err := back.AsOf(at)
	if err != nil || len(got.Versions) != 1 || got.Versions[0].Register.Op.ID() != first.ID() || got.Versions[0].Millis != now {
		t.Fatalf("restored history answers %+v, %v", got, err)
	}
}
