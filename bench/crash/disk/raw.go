package disk

import (
	"maps"
	"slices"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// blocks of a disk without a limit, as statfs tells them.
const blocks = 1 << 20

// raw answers the kernel. What it does not implement, the kernel hears of as
// ENOSYS and does itself (locks) or without.
type raw struct {
	fuse.RawFileSystem
	disk *FS
}

func (r *raw) String() string { return "crash" }

// node returns an inode that the kernel knows. Caller holds mu.
func (r *raw) node(id uint64) *inode { return r.disk.inodes[id] }

func (n *inode) attr(out *fuse.Attr) {
	out.Ino = n.id
	out.Mode = n.mode | syscall.S_IFREG
	out.Nlink = 1
	if n.isDir {
		out.Mode = n.mode | syscall.S_IFDIR
		out.Nlink = 2
	}
	out.Size = uint64(n.size)
	out.Blksize = pageBytes
	out.Blocks = uint64(len(n.pages)) * (pageBytes / sectorBytes)
	out.SetTimes(&n.changed, &n.changed, &n.changed)
}

// enter tells the kernel of an inode and counts its reference.
func (r *raw) enter(n *inode, out *fuse.EntryOut) {
	n.lookups++
	out.NodeId = n.id
	out.SetEntryTimeout(time.Hour)
	out.SetAttrTimeout(time.Hour)
	n.attr(&out.Attr)
}

// Lookup implements fuse.RawFileSystem.
func (r *raw) Lookup(_ <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	id, ok := r.node(header.NodeId).entries[name]
	if !ok {
		return fuse.ENOENT
	}
	r.enter(r.node(id), out)
	return fuse.OK
}

// Forget implements fuse.RawFileSystem.
func (r *raw) Forget(id, lookups uint64) {
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	if n := r.node(id); n != nil && id != rootID {
		n.lookups -= min(lookups, n.lookups)
		if n.lookups == 0 {
			r.disk.collect()
		}
	}
}

// GetAttr implements fuse.RawFileSystem.
func (r *raw) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	r.node(in.NodeId).attr(&out.Attr)
	out.SetTimeout(time.Hour)
	return fuse.OK
}

// SetAttr implements fuse.RawFileSystem.
func (r *raw) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	n := r.node(in.NodeId)
	if size, ok := in.GetSize(); ok && !n.isDir {
		n.truncate(int64(size))
	}
	if mode, ok := in.GetMode(); ok {
		n.mode = mode
	}
	n.attr(&out.Attr)
	out.SetTimeout(time.Hour)
	return fuse.OK
}

// make adds a new inode under a name.
func (r *raw) make(dir uint64, name string, isDir bool, mode uint32, out *fuse.EntryOut) fuse.Status {
	d := r.node(dir)
	if _, ok := d.entries[name]; ok {
		return fuse.Status(syscall.EEXIST)
	}
	r.disk.last++
	n := newInode(r.disk.last, isDir, mode&0o7777)
	r.disk.inodes[n.id] = n
	d.entries[name] = n.id
	r.disk.journal = append(r.disk.journal, change{added: place{dir, name}, id: n.id})
	r.enter(n, out)
	return fuse.OK
}

// Mkdir implements fuse.RawFileSystem.
func (r *raw) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	return r.make(in.NodeId, name, true, in.Mode, out)
}

// Create implements fuse.RawFileSystem.
func (r *raw) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	return r.make(in.NodeId, name, false, in.Mode, &out.EntryOut)
}

// Unlink implements fuse.RawFileSystem.
func (r *raw) Unlink(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return r.remove(header.NodeId, name)
}

// Rmdir implements fuse.RawFileSystem.
func (r *raw) Rmdir(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return r.remove(header.NodeId, name)
}

func (r *raw) remove(dir uint64, name string) fuse.Status {
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	d := r.node(dir)
	id, ok := d.entries[name]
	switch {
	case !ok:
		return fuse.ENOENT
	case r.node(id).isDir && len(r.node(id).entries) > 0:
		return fuse.Status(syscall.ENOTEMPTY)
	}
	delete(d.entries, name)
	r.disk.journal = append(r.disk.journal, change{removed: place{dir, name}})
	return fuse.OK
}

// Rename implements fuse.RawFileSystem.
func (r *raw) Rename(_ <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	source, target := r.node(in.NodeId), r.node(in.Newdir)
	id, ok := source.entries[from]
	switch {
	case in.Flags != 0:
		return fuse.EINVAL
	case !ok:
		return fuse.ENOENT
	}
	delete(source.entries, from)
	target.entries[to] = id
	r.disk.journal = append(r.disk.journal, change{removed: place{in.NodeId, from}, added: place{in.Newdir, to}, id: id})
	return fuse.OK
}

// Open implements fuse.RawFileSystem.
func (r *raw) Open(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.OK }

// OpenDir implements fuse.RawFileSystem.
func (r *raw) OpenDir(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.OK }

// Read implements fuse.RawFileSystem.
func (r *raw) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	n := r.node(in.NodeId).read(int64(in.Offset), buf[:in.Size])
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Write implements fuse.RawFileSystem.
func (r *raw) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	n := r.node(in.NodeId)
	if !r.disk.room(n.missing(int64(in.Offset), int64(len(data)))) {
		return 0, fuse.Status(syscall.ENOSPC)
	}
	n.write(int64(in.Offset), data)
	return uint32(len(data)), fuse.OK
}

// Fallocate implements fuse.RawFileSystem.
func (r *raw) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	n, off, size := r.node(in.NodeId), int64(in.Offset), int64(in.Length)
	const keepSize = 1
	switch {
	case in.Mode&^keepSize != 0:
		return fuse.ENOTSUP
	case !r.disk.room(n.missing(off, size)):
		return fuse.Status(syscall.ENOSPC)
	}
	for i := off / pageBytes; i*pageBytes < off+size; i++ {
		if n.pages[i] == nil {
			n.touch(i)
		}
	}
	if in.Mode&keepSize == 0 {
		n.size = max(n.size, off+size)
	}
	return fuse.OK
}

// Flush implements fuse.RawFileSystem: closing promises nothing.
func (r *raw) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

// Fsync implements fuse.RawFileSystem.
func (r *raw) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	r.disk.wait(cancel)
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	n := r.node(in.NodeId)
	if r.disk.failing > 0 {
		r.disk.failing--
		r.disk.failed++
		n.drop()
		return fuse.EIO
	}
	n.sync()
	return fuse.OK
}

// FsyncDir implements fuse.RawFileSystem.
func (r *raw) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	r.disk.wait(cancel)
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	r.disk.syncDir(in.NodeId)
	return fuse.OK
}

// wait lets a slow disk be slow, until it is not or the caller is killed.
func (f *FS) wait(cancel <-chan struct{}) {
	f.mu.Lock()
	delay, changed := f.delay, f.delayed
	f.mu.Unlock()
	if delay == 0 {
		return
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	case <-cancel:
	}
}

// ReadDir implements fuse.RawFileSystem. Names are listed in order, so that the
// offset of a call is a place among them.
func (r *raw) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	entries := r.node(in.NodeId).entries
	for i, name := range slices.Sorted(maps.Keys(entries)) {
		if uint64(i) < in.Offset {
			continue
		}
		n := r.node(entries[name])
		mode := uint32(syscall.S_IFREG)
		if n.isDir {
			mode = syscall.S_IFDIR
		}
		if !out.AddDirEntry(fuse.DirEntry{Name: name, Mode: mode, Ino: n.id, Off: uint64(i) + 1}) {
			break
		}
	}
	return fuse.OK
}

// StatFs implements fuse.RawFileSystem.
func (r *raw) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	total, used := r.disk.capacity, r.disk.used()
	if total == 0 {
		total = used + blocks
	}
	out.Bsize, out.Frsize, out.NameLen = pageBytes, pageBytes, 255
	out.Blocks = uint64(total)
	out.Bfree = uint64(max(total-used, 0))
	out.Bavail = out.Bfree
	out.Files, out.Ffree = 1<<20, 1<<19
	return fuse.OK
}
