package disk

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

const rootID = fuse.FUSE_ROOT_ID

// FS is one disk. Safe for concurrent use; Mount, Unmount and PowerOff are for
// one goroutine.
type FS struct {
	raw    raw
	server *fuse.Server

	mu      sync.Mutex
	inodes  map[uint64]*inode
	last    uint64 // id that was given last
	journal []change

	capacity int64         // pages; 0 is no limit
	delay    time.Duration // of each sync
	delayed  chan struct{} // closed when delay changes
	failing  int           // syncs to fail
	failed   int           // syncs that failed
}

// New returns an empty disk.
func New() *FS {
	f := &FS{inodes: map[uint64]*inode{}, last: rootID, delayed: make(chan struct{})}
	f.inodes[rootID] = newInode(rootID, true, 0o755)
	f.raw = raw{RawFileSystem: fuse.NewDefaultRawFileSystem(), disk: f}
	return f
}

// Mount shows the disk in an existing directory.
func (f *FS) Mount(dir string) error {
	server, err := fuse.NewServer(&f.raw, dir, &fuse.MountOptions{
		FsName: "crash", Name: "crash", DirectMountStrict: true, MaxWrite: 1 << 20, DisableReadDirPlus: true,
	})
	if err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	f.server = server
	return nil
}

// Unmount writes what the kernel holds and takes the disk away. No process may
// use it any more.
func (f *FS) Unmount() error {
	if f.server == nil {
		return nil
	}
	f.Slow(0)
	if err := f.server.Unmount(); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	f.server.Wait()
	f.server = nil
	return nil
}

// Slow makes every sync take so long, from now on.
func (f *FS) Slow(delay time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay = delay
	close(f.delayed)
	f.delayed = make(chan struct{})
}

// FailSyncs lets the next n syncs of files fail.
func (f *FS) FailSyncs(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failing, f.failed = n, 0
}

// FailedSyncs returns how many syncs failed since FailSyncs.
func (f *FS) FailedSyncs() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// Fill leaves spare bytes free, as of now; Drain takes the limit away.
func (f *FS) Fill(spare int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.capacity = max(f.used()+spare/pageBytes, 1)
}

// Drain makes the disk large again.
func (f *FS) Drain() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.capacity = 0
}

// used counts the pages of all files. Caller holds mu.
func (f *FS) used() (pages int64) {
	for _, n := range f.inodes {
		pages += int64(len(n.pages))
	}
	return pages
}

// room reports whether so many more pages fit. Caller holds mu.
func (f *FS) room(pages int64) bool {
	return pages == 0 || f.capacity == 0 || f.used()+pages <= f.capacity
}

// File is what a disk that nobody uses holds under a name.
type File struct {
	Path  string // slash-separated, from the root
	Bytes int64  // of content; holes count
	inode *inode
}

// Files lists all files, sorted by path.
func (f *FS) Files() []File {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []File
	var walk func(dir *inode, at string)
	walk = func(dir *inode, at string) {
		for name, id := range dir.entries {
			n := f.inodes[id]
			if n.isDir {
				walk(n, path.Join(at, name))
				continue
			}
			out = append(out, File{path.Join(at, name), n.size, n})
		}
	}
	walk(f.inodes[rootID], "")
	slices.SortFunc(out, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// FlipBit changes one bit of a file that no process has open, where it is not
// empty. It reports where, or false if the file has no content.
func (f *FS) FlipBit(file File, draw *rand.Rand) (offset int64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := file.inode
	var filled []int64
	for i, p := range n.pages {
		if *p != (page{}) {
			filled = append(filled, i)
		}
	}
	if len(filled) == 0 {
		return 0, false
	}
	slices.Sort(filled)
	i := filled[draw.IntN(len(filled))]
	var used []int
	for at, b := range n.pages[i] {
		if b != 0 {
			used = append(used, at)
		}
	}
	at := used[draw.IntN(len(used))]
	n.touch(i)[at] ^= 1 << draw.IntN(8)
	n.sync()
	return i*pageBytes + int64(at), true
}

// Wipe empties the disk, as a new one is. It must not be mounted.
func (f *FS) Wipe() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inodes = map[uint64]*inode{rootID: newInode(rootID, true, 0o755)}
	f.journal = nil
}
