package replica

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// spaceOf returns what is free for this process on dir's volume, and the
// volume's size.
func spaceOf(dir string) (free, total int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(s.Bavail) * s.Bsize, int64(s.Blocks) * s.Bsize, nil
}

// allocated returns the size of dir's files on disk: the store's are sparse.
func allocated(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error { // files vanish meanwhile
		if err != nil || entry.IsDir() {
			return nil
		}
		if info, err := entry.Info(); err == nil {
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				bytes += 512 * stat.Blocks
			}
		}
		return nil
	})
	return bytes
}

// allocate sets blocks aside for file.
func allocate(file *os.File, bytes int64) error {
	return syscall.Fallocate(int(file.Fd()), 0, 0, bytes)
}
