package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"pgregory.net/rapid"

	"github.com/entente-sync/entente/hub/backup"
	"github.com/entente-sync/entente/hub/backup/backuptest"
	"github.com/entente-sync/entente/hub/store"
)

var midnight = time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

func is(err error, code backup.Code) bool { return errors.Is(err, &backup.Fault{Code: code}) }

// newKeeper keeps the fixture's state.
func newKeeper(t testing.TB, plan backup.Plan) *backup.Keeper {
	t.Helper()
	m := backup.Machine(t, 20)
	if plan.Every == 0 {
		plan.Every = day
	}
	return &backup.Keeper{Plan: plan, Hub: backup.HubID, Source: func() (backup.Header, io.ReadCloser, error) {
		var b bytes.Buffer
		err := store.WriteSnapshot(&b, m.Image())
		return backup.HeaderOf(m), io.NopCloser(&b), err
	}}
}

func destinations(t *testing.T) map[string]backup.Destination {
	return map[string]backup.Destination{
		"directory": backup.NewDirectory(t.TempDir()), "bucket": backup.NewS3(backuptest.NewBucket(t).Config()),
	}
}

func names(t testing.TB, d backup.Destination) []string {
	t.Helper()
	out, err := d.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// One backup a period, whoever looks and however often; it can be read with the
// recipient's identity, and its note says what it is.
func TestOneBackupAPeriod(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range destinations(t) {
		plan := backup.Plan{To: d, Recipients: []age.Recipient{id.Recipient()}}
		one, two := newKeeper(t, plan), newKeeper(t, plan)
		for _, look := range []struct{ at, made time.Duration }{
			{time.Hour, time.Hour},
			{2 * time.Hour, time.Hour},
			{23 * time.Hour, time.Hour},
			{day, day},
			{day + time.Minute, day},
			{3 * day, 3 * day},
		} {
			taken := []*backup.Taken{}
			for _, k := range []*backup.Keeper{one, two, one} {
				got, err := k.Look(t.Context(), midnight.Add(look.at))
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				taken = append(taken, got)
			}
			want := midnight.Add(look.made)
			for _, got := range taken {
				if *got != *taken[0] || !got.Verified.Equal(want) || got.Bytes == 0 {
					t.Errorf("%s: at %s: %+v, want one of %s", name, look.at, got, want)
				}
			}
		}
		held := names(t, d)
		if len(held) != 6 || held[0] != backup.HubID.String()+"-20270301T000000Z.backup" || held[5] != backup.HubID.String()+"-20270304T000000Z.backup.verified" {
			t.Errorf("%s holds %q", name, held)
		}
		r, err := d.Get(t.Context(), held[0])
		if err != nil {
			t.Fatal(err)
		}
		if report, err := backup.Check(r, []age.Identity{id}); err != nil || report.Registers != 20 || !report.Sealed {
			t.Errorf("%s: %+v, %v", name, report, err)
		}
		r.Close()
	}
}

// Files of others are left alone, and nothing goes before something newer is
// verified.
func TestPrune(t *testing.T) {
	d := backup.NewDirectory(t.TempDir())
	mine := backup.HubID.String()
	for _, n := range []string{
		"readme.txt", "00000000000000000000000000000009-20200101T000000Z.backup", mine + "-yesterday.backup",
		mine + "-20200101T000000Z.backup",           // never verified
		mine + "-20200102T000000Z.backup.verified",  // note of nothing
		mine + "-20990101T000000Z.backup",           // of a clock that was wrong
		mine + "-20990101T000000Z.backup.verified",  //
		mine + "-20200103T000000Z.backup.verified1", // nobody's
	} {
		if err := d.Put(t.Context(), n, strings.NewReader("{}")); err != nil {
			t.Fatal(err)
		}
	}
	k := newKeeper(t, backup.Plan{To: d, Keep: backup.Keep{Count: 3}})
	for i := range 5 {
		if _, err := k.Look(t.Context(), midnight.Add(time.Duration(i)*day)); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"00000000000000000000000000000009-20200101T000000Z.backup",
		mine + "-20200103T000000Z.backup.verified1",
		mine + "-20270304T000000Z.backup", mine + "-20270304T000000Z.backup.verified",
		mine + "-20270305T000000Z.backup", mine + "-20270305T000000Z.backup.verified",
		mine + "-20990101T000000Z.backup", mine + "-20990101T000000Z.backup.verified",
		mine + "-yesterday.backup", "readme.txt",
	}
	if got := names(t, d); !slices.Equal(got, want) {
		t.Errorf("left: %q, want %q", got, want)
	}
	before := names(t, d)
	k.Source = func() (backup.Header, io.ReadCloser, error) { return backup.Header{}, nil, store.ErrClosed }
	k.Keep = backup.Keep{Count: 1}
	if _, err := k.Look(t.Context(), midnight.Add(30*day)); !errors.Is(err, store.ErrClosed) {
		t.Errorf("no source: %v", err)
	}
	if got := names(t, d); !slices.Equal(got, before) {
		t.Errorf("a failure removed something: %q", got)
	}
}

// What is kept is the union of both rules, and always the newest.
func TestKeepRules(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := backuptest.NewMemory()
		keep := backup.Keep{
			Count: rapid.IntRange(0, 5).Draw(rt, "count"), Age: time.Duration(rapid.IntRange(0, 9).Draw(rt, "days")) * day,
		}
		days := slices.Sorted(slices.Values(rapid.SliceOfNDistinct(rapid.IntRange(0, 12), 1, 6, rapid.ID).Draw(rt, "looks")))
		k := newKeeper(t, backup.Plan{To: d, Keep: keep})
		for _, n := range days {
			if _, err := k.Look(context.Background(), midnight.Add(time.Duration(n)*day)); err != nil {
				rt.Fatal(err)
			}
		}
		var want []string
		last := days[len(days)-1]
		for i, n := range days {
			nth := len(days) - i
			if keep == (backup.Keep{}) || nth == 1 || nth <= keep.Count || time.Duration(last-n)*day < keep.Age {
				name := fmt.Sprintf("%s-202703%02dT000000Z.backup", backup.HubID, n+1)
				want = append(want, name, name+".verified")
			}
		}
		if got := names(t, d); !slices.Equal(got, want) {
			rt.Fatalf("%+v over days %v: %q, want %q", keep, days, got, want)
		}
	})
}

// A backup that does not come back as it was sent has no note, is an error, and
// is made again; the old ones stay meanwhile.
func TestUnverified(t *testing.T) {
	b := backuptest.NewBucket(t)
	k := newKeeper(t, backup.Plan{To: backup.NewS3(b.Config()), Keep: backup.Keep{Count: 1}})
	first, err := k.Look(t.Context(), midnight)
	if err != nil {
		t.Fatal(err)
	}
	b.Truncate(true)
	for range 2 {
		newest, err := k.Look(t.Context(), midnight.Add(day))
		if !is(err, backup.CodeUnverified) || newest == nil || *newest != *first {
			t.Errorf("truncated: %+v, %v", newest, err)
		}
	}
	b.Truncate(false)
	b.Fail(func(w http.ResponseWriter, r *http.Request) bool { // another's file in its place
		if r.Method != http.MethodGet || r.URL.Query().Has("prefix") || strings.HasSuffix(r.URL.Path, ".verified") {
			return false
		}
		var other bytes.Buffer
		m := backup.Machine(t, 4)
		if err := backup.Write(&other, backup.HeaderOf(m), nil, backup.BodyOf(m)); err != nil {
			t.Error(err)
		}
		if _, err := w.Write(other.Bytes()); err != nil {
			t.Error(err)
		}
		return true
	})
	if _, err := k.Look(t.Context(), midnight.Add(day)); !is(err, backup.CodeUnverified) {
		t.Errorf("another backup: %v", err)
	}
	b.Fail(nil)
	if held := names(t, k.To); len(held) != 3 {
		t.Errorf("the old one is gone: %q", held)
	}
	if newest, err := k.Look(t.Context(), midnight.Add(day)); err != nil || *newest == *first {
		t.Errorf("made again: %+v, %v", newest, err)
	}
	if held := names(t, k.To); len(held) != 2 {
		t.Errorf("left: %q", held)
	}
}

// lazy is a destination that says it is done before it is.
type lazy struct{ backup.Destination }

func (l lazy) Put(ctx context.Context, name string, r io.Reader) error {
	return l.Destination.Put(ctx, name, io.LimitReader(r, 100))
}

func TestDestinationThatStopsEarly(t *testing.T) {
	d := backup.NewDirectory(t.TempDir())
	k := newKeeper(t, backup.Plan{To: lazy{d}})
	if _, err := k.Look(t.Context(), midnight); err == nil || !strings.Contains(err.Error(), "did not take all of it") {
		t.Errorf("got %v", err)
	}
}

func TestBrokenSource(t *testing.T) {
	for name, d := range destinations(t) {
		k := newKeeper(t, backup.Plan{To: d})
		source := k.Source
		k.Source = func() (backup.Header, io.ReadCloser, error) {
			h, body, err := source()
			return h, io.NopCloser(io.MultiReader(io.LimitReader(body, 500), brokenReader{})), err
		}
		if _, err := k.Look(t.Context(), midnight); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
		if held := names(t, d); len(held) > 0 {
			t.Errorf("%s holds %q", name, held)
		}
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, fs.ErrClosed }

// A note of a later program still says that the backup was made.
func TestNotesOfOthers(t *testing.T) {
	for _, text := range []string{`{"version": 2}`, `{"version": 1`, ""} {
		d := backup.NewDirectory(t.TempDir())
		k := newKeeper(t, backup.Plan{To: d})
		if _, err := k.Look(t.Context(), midnight); err != nil {
			t.Fatal(err)
		}
		note := names(t, d)[1]
		if err := d.Put(t.Context(), note, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		got, err := k.Look(t.Context(), midnight.Add(time.Hour))
		if err != nil || !got.Verified.Equal(midnight) || len(names(t, d)) != 2 {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

// A look whose context ends stops, wherever it is.
func TestLookIsCancelled(t *testing.T) {
	b := backuptest.NewBucket(t)
	k := newKeeper(t, backup.Plan{To: backup.NewS3(b.Config())})
	for calls := 0; ; calls++ {
		ctx, cancel := context.WithCancel(t.Context())
		seen := 0
		b.Fail(func(http.ResponseWriter, *http.Request) bool {
			if seen++; seen > calls {
				cancel()
			}
			return false
		})
		_, err := k.Look(ctx, midnight.Add(time.Duration(calls)*day))
		cancel()
		if err == nil {
			if calls < 5 {
				t.Errorf("done after %d calls", calls)
			}
			return
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("after %d calls: %v", calls, err)
		}
	}
}
