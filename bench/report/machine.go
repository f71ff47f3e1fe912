package report

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Machine says where a measurement was taken, without names of hosts or people.
type Machine struct {
	CPU        string  `json:"cpu"`
	Cores      int     `json:"cores"`
	MemoryGiB  float64 `json:"memory_gib"`
	Kernel     string  `json:"kernel"`
	FileSystem string  `json:"file_system"` // of the nodes' directories
	SyncMicros float64 `json:"sync_us"`     // median of appending 4 KiB and fdatasync there
	Go         string  `json:"go"`
}

// OnDisk reports whether a sync means anything on the file system.
func (m Machine) OnDisk() bool { return m.FileSystem != "tmpfs" && m.FileSystem != "ramfs" }

func (m Machine) String() string {
	return fmt.Sprintf("%d cores (%s), %.0f GiB of memory, Linux %s, %s where 4 KiB are appended and synced in %.0f µs, %s",
		m.Cores, m.CPU, m.MemoryGiB, m.Kernel, m.FileSystem, m.SyncMicros, m.Go)
}

// ThisMachine looks around; the nodes' directories are below dir.
func ThisMachine(dir string) (Machine, error) {
	m := Machine{CPU: cpuModel(), Cores: runtime.NumCPU(), Go: runtime.Version(), FileSystem: "unknown file system"}
	if kib := Meminfo("MemTotal"); kib > 0 {
		m.MemoryGiB = float64(kib) / (1 << 20)
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel, _, _ = strings.Cut(strings.TrimSpace(string(text)), "-")
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return m, err
	}
	names := map[int64]string{0xef53: "ext4", 0x58465342: "xfs", 0x9123683e: "btrfs", 0x01021994: "tmpfs", 0x858458f6: "ramfs", 0x794c7630: "overlayfs"}
	if name, ok := names[fs.Type]; ok {
		m.FileSystem = name
	}
	var err error
	m.SyncMicros, err = syncMicros(dir)
	return m, err
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// Meminfo returns a line of /proc/meminfo, in KiB; 0 if there is none.
func Meminfo(key string) int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if words := strings.Fields(value); name == key && len(words) > 0 {
			kib, _ := strconv.ParseInt(words[0], 10, 64) // 0 says unknown
			return kib
		}
	}
	return 0
}

func syncMicros(dir string) (float64, error) {
	f, err := os.Create(filepath.Join(dir, "sync-probe"))
	if err != nil {
		return 0, err
	}
	defer func() { f.Close(); _ = os.Remove(f.Name()) }()
	block := make([]byte, 4096)
	var took []float64
	for range 200 {
		began := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		took = append(took, float64(time.Since(began).Nanoseconds())/1e3)
	}
	median, _ := summary(took)
	return median, nil
}
