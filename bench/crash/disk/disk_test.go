package disk

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mounted returns a disk and the directory where it is mounted.
func mounted(t *testing.T) (*FS, string) {
	t.Helper()
	f, dir := New(), t.TempDir()
	mount(t, f, dir)
	t.Cleanup(func() { check(t, f.Unmount()) })
	return f, dir
}

func mount(t *testing.T, f *FS, dir string) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); (err != nil || os.Getuid() != 0) && os.Getenv("CI") != "true" {
		t.Skip("SKIPPED, NOTHING WAS TESTED: wants root and /dev/fuse")
	}
	check(t, f.Mount(dir))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cycle takes the power away and gives it back.
func cycle(t *testing.T, f *FS, dir string, tear Tear, seed uint64) {
	t.Helper()
	check(t, f.Unmount())
	f.PowerOff(tear, rand.New(rand.NewPCG(seed, 1)))
	mount(t, f, dir)
}

func syncPath(t *testing.T, path string) {
	t.Helper()
	file, err := os.Open(path)
	check(t, err)
	check(t, errors.Join(file.Sync(), file.Close()))
}

func TestWhatIsNotSyncedIsGone(t *testing.T) {
	f, dir := mounted(t)
	one, two, sub := filepath.Join(dir, "one"), filepath.Join(dir, "two"), filepath.Join(dir, "sub")
	check(t, os.WriteFile(one, []byte("kept"), 0o600))
	syncPath(t, one)
	check(t, os.WriteFile(two, []byte("named, never synced"), 0o600))
	check(t, os.Mkdir(sub, 0o700))
	syncPath(t, dir)
	check(t, os.WriteFile(one, []byte("changed"), 0o600))
	check(t, os.WriteFile(filepath.Join(sub, "deep"), []byte("synced, never named"), 0o600))
	syncPath(t, filepath.Join(sub, "deep"))

	cycle(t, f, dir, TearNone, 1)
	for path, want := range map[string]string{one: "kept", two: ""} {
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v; want %q", path, got, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(sub, "deep")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a name that was not synced is there: %v", err)
	}
}

func TestRename(t *testing.T) {
	f, dir := mounted(t)
	now, next := filepath.Join(dir, "now"), filepath.Join(dir, "next")
	put := func(path, content string) {
		check(t, os.WriteFile(path, []byte(content), 0o600))
		syncPath(t, path)
	}
	put(now, "1")
	syncPath(t, dir)
	put(next, "2")
	check(t, os.Rename(next, now))
	cycle(t, f, dir, TearNone, 1)
	if got, err := os.ReadFile(now); err != nil || string(got) != "1" {
		t.Errorf("a rename that was not synced: %q, %v", got, err)
	}
	put(next, "3")
	check(t, os.Rename(next, now))
	syncPath(t, dir)
	cycle(t, f, dir, TearNone, 1)
	if got, err := os.ReadFile(now); err != nil || string(got) != "3" {
		t.Errorf("a rename that was synced: %q, %v", got, err)
	}
	if _, err := os.Stat(next); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old name is there: %v", err)
	}
}

// mapEnv makes this binary write through a map and end: a page fault holds its
// thread without telling the runtime, so a process that serves the disk itself may
// wait for itself for ever.
const mapEnv = "ENTENTE_MAP_FILE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(agentEnv); dir != "" {
		if err := inAgentStore(dir, os.Args[1]); err != nil {
			panic(err)
		}
		return
	}
	if path := os.Getenv(mapEnv); path != "" {
		at, err := strconv.Atoi(os.Args[1])
		if err == nil {
			err = writeMapped(path, at, os.Args[2], os.Args[3] == "sync")
		}
		if err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

func writeMapped(path string, at int, text string, sync bool) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	m, err := unix.Mmap(int(file.Fd()), 0, 4*pageBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(m[at:], text)
	if sync {
		if err := unix.Msync(m, unix.MS_SYNC); err != nil {
			return err
		}
	}
	return unix.Munmap(m)
}

// Databases map their files: written through a map, read through another, synced
// by msync.
func TestMaps(t *testing.T) {
	f, dir := mounted(t)
	path := filepath.Join(dir, "map")
	write := func(at int, text, sync string) {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		check(t, err)
		check(t, errors.Join(file.Truncate(4*pageBytes), file.Close()))
		syncPath(t, dir)
		child := exec.Command(os.Args[0], strconv.Itoa(at), text, sync)
		child.Env = append(os.Environ(), mapEnv+"="+path)
		if out, err := child.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	write(10, "synced", "sync")
	write(2*pageBytes, "not synced", "none")
	got, err := os.ReadFile(path)
	check(t, err)
	if !bytes.HasPrefix(got[10:], []byte("synced")) || !bytes.HasPrefix(got[2*pageBytes:], []byte("not synced")) {
		t.Fatal("what was written through a map is not read")
	}
	cycle(t, f, dir, TearNone, 1)
	got, err = os.ReadFile(path)
	check(t, err)
	if !bytes.HasPrefix(got[10:], []byte("synced")) || got[2*pageBytes] != 0 {
		t.Errorf("after the power went: %q, %q", got[10:16], got[2*pageBytes:2*pageBytes+10])
	}
}

// Of eight pages some sectors are new and some old, and which ones the seed says.
func TestTornWrites(t *testing.T) {
	results := map[string]bool{}
	for _, seed := range []uint64{1, 1, 2} {
		f, dir := mounted(t)
		path := filepath.Join(dir, "file")
		check(t, os.WriteFile(path, bytes.Repeat([]byte{'a'}, 8*pageBytes), 0o600))
		syncPath(t, path)
		syncPath(t, dir)
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		check(t, err)
		_, err = file.WriteAt(bytes.Repeat([]byte{'b'}, 8*pageBytes), 0)
		check(t, errors.Join(err, file.Close()))
		cycle(t, f, dir, TearRandom, seed)
		got, err := os.ReadFile(path)
		check(t, err)
		if len(got) != 8*pageBytes || !bytes.Contains(got, []byte("ab")) || !bytes.Contains(got, []byte("ba")) {
			t.Fatalf("seed %d: %d bytes, %d of them new", seed, len(got), bytes.Count(got, []byte{'b'}))
		}
		for i := range len(got) / sectorBytes {
			sector := got[i*sectorBytes:][:sectorBytes]
			if n := bytes.Count(sector, sector[:1]); n != sectorBytes {
				t.Fatalf("sector %d is torn itself", i)
			}
		}
		results[string(got)] = true
	}
	if len(results) != 2 {
		t.Errorf("two seeds, three runs: %d different contents", len(results))
	}
}

func TestFailedSync(t *testing.T) {
	f, dir := mounted(t)
	path := filepath.Join(dir, "file")
	file, err := os.Create(path)
	check(t, err)
	syncPath(t, dir)
	_, err = file.WriteString("lost")
	check(t, err)
	f.FailSyncs(1)
	if err := file.Sync(); !errors.Is(err, syscall.EIO) || f.FailedSyncs() != 1 {
		t.Fatalf("the sync that must fail: %v", err)
	}
	check(t, errors.Join(file.Sync(), file.Close())) // as Linux does: the loss was told once
	cycle(t, f, dir, TearNone, 1)
	if got, err := os.ReadFile(path); err != nil || bytes.Contains(got, []byte("lost")) {
		t.Errorf("the file holds %q, %v", got, err)
	}
}

func TestFullDisk(t *testing.T) {
	f, dir := mounted(t)
	path := filepath.Join(dir, "file")
	check(t, os.WriteFile(path, make([]byte, 10*pageBytes), 0o600))
	f.Fill(2 * pageBytes)
	var stat unix.Statfs_t
	check(t, unix.Statfs(dir, &stat))
	if stat.Bavail != 2 || stat.Blocks != 12 {
		t.Errorf("%d of %d blocks are free", stat.Bavail, stat.Blocks)
	}
	if err := os.WriteFile(filepath.Join(dir, "more"), make([]byte, 3*pageBytes), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("writing more than fits: %v", err)
	}
	check(t, os.WriteFile(path, bytes.Repeat([]byte{1}, 10*pageBytes), 0o600)) // what is there may change
	file, err := os.Create(filepath.Join(dir, "reserved"))
	check(t, err)
	defer file.Close()
	if err := unix.Fallocate(int(file.Fd()), 0, 0, 8*pageBytes); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("reserving more than fits: %v", err)
	}
	f.Drain()
	check(t, unix.Fallocate(int(file.Fd()), 0, 0, 8*pageBytes))
}

func TestSlowSyncEndsWhenTheDiskIsFastAgain(t *testing.T) {
	f, dir := mounted(t)
	file, err := os.Create(filepath.Join(dir, "file"))
	check(t, err)
	defer file.Close()
	f.Slow(time.Hour)
	done := make(chan error, 1)
	go func() { done <- file.Sync() }()
	select {
	case err := <-done:
		t.Fatalf("the sync did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	f.Slow(0)
	check(t, <-done)
}

func TestFlipBit(t *testing.T) {
	f, dir := mounted(t)
	content := bytes.Repeat([]byte{0xff}, 3*pageBytes)
	check(t, os.WriteFile(filepath.Join(dir, "b"), content, 0o600))
	check(t, os.Mkdir(filepath.Join(dir, "a"), 0o700))
	check(t, os.WriteFile(filepath.Join(dir, "a", "empty"), nil, 0o600))
	files := f.Files()
	names := []string{files[0].Path, files[1].Path}
	if !slices.Equal(names, []string{"a/empty", "b"}) || files[1].Bytes != 3*pageBytes {
		t.Fatalf("files %v", names)
	}
	draw := rand.New(rand.NewPCG(1, 1))
	if _, ok := f.FlipBit(files[0], draw); ok {
		t.Error("a bit of an empty file was flipped")
	}
	at, ok := f.FlipBit(files[1], draw)
	got, err := os.ReadFile(filepath.Join(dir, "b"))
	check(t, err)
	if !ok || bytes.Equal(got, content) || got[at] == 0xff {
		t.Errorf("bit at %d, %v", at, ok)
	}
	check(t, f.Unmount())
	f.Wipe()
	if n := len(f.Files()); n != 0 {
		t.Errorf("%d files after wiping", n)
	}
}
