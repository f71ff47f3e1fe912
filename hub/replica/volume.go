package replica

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// ErrDiskLow reports that the volume of this node is almost full: nothing was
// written. It passes by itself when there is room again.
var ErrDiskLow = errors.New("the disk is almost full")

// Room is what is left on a node's volume.
type Room int32

// Rooms.
const (
	RoomEnough   Room = iota
	RoomLow           // as leader the node admits nothing, and hands over
	RoomReadOnly      // nor does it store commands or write checkpoints
)

func (r Room) String() string {
	names := [...]string{"enough", "low", "read-only"}
	if r >= 0 && int(r) < len(names) {
		return names[r]
	}
	return "unknown"
}

const (
	fileBallast = "ballast"

	lookEvery      = time.Second
	reservePart    = 10       // of a volume: kept free
	reserveMax     = 10 << 30 // more is for no use of this program
	memTableBytes  = 16 << 20 // of the store, where nothing else is set
	hysteresisPart = 10       // of the reserve: more must be free to leave a state than to enter it
)

// volume keeps the node's disk from filling up, since the database under the
// store dies of it: it writes through a memory map of a sparse file, and the
// kernel answers with SIGBUS. Below the reserve nothing is admitted, below half of
// it nothing but raft's own small entries is written. The ballast is a file of
// real blocks. Most of it is given up when somebody else takes even that, so that
// what is under way can end; the rest when the node stops, since the database
// writes a table then.
type volume struct {
	dir     string
	space   func(dir string) (free, total int64, err error)
	log     *slog.Logger
	reserve int64 // 0: a part of the volume
	table   int64 // size of one of the store's tables in memory
	least   int64 // of the reserve, where it is a part of the volume
	segment int64 // size of a file of the log
	ballast int64 // wanted size

	mu   sync.Mutex   // held by look
	held atomic.Int64 // size of the ballast that is there
	free atomic.Int64 // without what is missing of the ballast
	room atomic.Int32
	last atomic.Int64 // the reserve that was used
	news atomic.Int64 // bytes written since the last look
}

func newVolume(cfg *Config) *volume {
	table := cfg.MemTableBytes
	if table == 0 {
		table = memTableBytes
	}
	return &volume{
		table: table, segment: int64(cfg.SegmentBytes),
		dir: cfg.Dir, space: cfg.space, log: cfg.Log, reserve: cfg.ReserveBytes,
		least: 4*cfg.CheckpointBytes + 4*int64(cfg.SegmentBytes) + 16*table, ballast: max(0, cfg.BallastBytes),
	}
}

// open refuses a volume on which the database would die at once.
func (v *volume) open() error {
	if v.reserve < 0 {
		return nil
	}
	if err := os.MkdirAll(v.dir, 0o700); err != nil {
		return err
	}
	if info, err := os.Stat(v.path()); err == nil {
		v.held.Store(info.Size())
	}
	free, total, err := v.space(v.dir)
	if err != nil || total == 0 {
		return err // a volume of unknown size is not watched
	}
	need := min(v.floor(), v.reserveOf(total)/2)
	if free < need && v.held.Load() > 0 {
		v.shrink(0)
		if free, _, err = v.space(v.dir); err != nil {
			return err
		}
	}
	if free < need {
		return fmt.Errorf("%w: %d bytes are free in %s, a start needs %d", ErrDiskLow, free, v.dir, need)
	}
	v.look()
	return nil
}

// look measures, and makes the ballast if it is missing and there is room for it.
func (v *volume) look() { v.measure(true) }

// measure finds out what is free, and gives up ballast.
func (v *volume) measure(mayFill bool) {
	if v.reserve < 0 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.news.Store(0)
	free, total, err := v.space(v.dir)
	if err != nil || total == 0 {
		return // unknown, as it was
	}
	reserve := v.reserveOf(total)
	if keep := v.lastTables(); free < reserve/2 && v.held.Load() > keep && free < v.floor() {
		v.shrink(keep)
		if free, _, err = v.space(v.dir); err != nil {
			return
		}
	}
	if missing := v.ballast - v.held.Load(); mayFill && missing > 0 && free >= missing+reserve {
		if err := v.fill(); err != nil {
			v.log.Warn("no ballast", "error", err)
		} else {
			free -= missing
		}
	}
	free -= max(0, v.ballast-v.held.Load())
	v.free.Store(free)
	v.last.Store(reserve)
	v.enter(roomOf(Room(v.room.Load()), free, reserve))
}

func (v *volume) enter(room Room) {
	if old := Room(v.room.Swap(int32(room))); old != room {
		v.log.Warn("room on the disk", "now", room, "before", old, "free_bytes", v.free.Load(), "reserve_bytes", v.last.Load())
	}
}

// roomOf judges what is free; to leave a worse state takes a little more than
// not to enter it.
func roomOf(now Room, free, reserve int64) Room {
	slack := func(above Room) int64 {
		if now > above {
			return reserve / hysteresisPart
		}
		return 0
	}
	switch {
	case free < reserve/2+slack(RoomLow):
		return RoomReadOnly
	case free < reserve+slack(RoomEnough):
		return RoomLow
	}
	return RoomEnough
}

// reserveOf is what must be free on a volume of that size.
func (v *volume) reserveOf(total int64) int64 {
	if v.reserve > 0 {
		return v.reserve
	}
	return max(min(total/reservePart, reserveMax), v.least)
}

func (v *volume) left() Room { return Room(v.room.Load()) }

// admits returns an error while nothing may be proposed.
func (v *volume) admits() error {
	if v.left() == RoomEnough {
		return nil
	}
	return fmt.Errorf("%w: %d bytes are free, %d must be", ErrDiskLow, v.free.Load(), v.last.Load())
}

// stores returns an error while nothing may be written that can grow.
func (v *volume) stores() error {
	if v.left() < RoomReadOnly {
		return nil
	}
	return fmt.Errorf("%w: %d bytes are free, %d must be", ErrDiskLow, v.free.Load(), v.last.Load()/2)
}

// wrote looks again when so much was written that the last look may mislead,
// however soon that is.
func (v *volume) wrote(bytes int64) {
	if reserve := v.last.Load(); reserve > 0 && v.news.Add(bytes) > reserve/16 {
		v.measure(false)
	}
}

// fits returns an error if there is no room for so many bytes, and for what the
// database writes when it is closed. Less than the reserve may be left: checkpoints
// are what lets the log be cut.
func (v *volume) fits(bytes int64) error {
	if v.reserve < 0 {
		return nil
	}
	free, total, err := v.space(v.dir)
	if err != nil || total == 0 || free-bytes >= v.lastTables() {
		return nil // a volume of unknown size is not watched
	}
	return fmt.Errorf("%w: %d bytes are free, and %d are to be written", ErrDiskLow, free, bytes)
}

// checkpointBytes is what the store may need to take up so many bytes of
// commands: its own log and its tables, and what it merges these with.
func (v *volume) checkpointBytes(commands int64) int64 {
	return 3*commands + v.lastTables() + v.mergeBytes()
}

// mergeBytes bounds what the database writes to merge its tables, which it does
// at any time after a checkpoint or a start: a few of them and what they overlap,
// and never more than all.
func (v *volume) mergeBytes() int64 {
	return min(allocated(filepath.Join(v.dir, dirState)), 16*v.table+128<<20)
}

// floor is what the log's next file and a start of the store need.
func (v *volume) floor() int64 { return v.segment + v.lastTables() + v.mergeBytes() }

func (v *volume) path() string { return filepath.Join(v.dir, fileBallast) }

// lastTables is what the database may write when it is closed or opened.
func (v *volume) lastTables() int64 { return 4 * v.table }

// shrink gives all of the ballast but so many bytes back to the volume.
func (v *volume) shrink(keep int64) {
	err := os.Truncate(v.path(), keep)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		v.log.Error("the ballast cannot be given up", "error", err)
		return
	}
	v.log.Warn("the disk is full: ballast is given up", "bytes", v.held.Swap(keep)-keep)
}

// closes makes room for what the database writes when it is closed, or says that
// there is none.
func (v *volume) closes() error {
	if v.reserve < 0 {
		return nil
	}
	free, total, err := v.space(v.dir)
	if err == nil && total > 0 && free < v.lastTables() && v.held.Load() > 0 {
		v.shrink(0)
		free, total, err = v.space(v.dir)
	}
	if err == nil && total > 0 && free < v.lastTables() {
		return fmt.Errorf("%w: %d bytes are free; the store is left as it is, and its log will be read at the next start", ErrDiskLow, free)
	}
	return nil
}

// fill makes the ballast: written, not promised, and of bytes that no file
// system compresses.
func (v *volume) fill() error {
	file, err := os.OpenFile(v.path(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err = allocate(file, v.ballast); err != nil {
		err = scribble(file, v.ballast)
	}
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(v.path()))
	}
	v.held.Store(v.ballast)
	return nil
}

// scribble fills a file where the file system cannot set blocks aside.
func scribble(file *os.File, bytes int64) error {
	noise := rand.NewChaCha8([32]byte{1})
	chunk := make([]byte, 1<<20)
	for at := int64(0); at < bytes; at += int64(len(chunk)) {
		_, _ = noise.Read(chunk) // cannot fail
		if _, err := file.WriteAt(chunk[:min(int64(len(chunk)), bytes-at)], at); err != nil {
			return err
		}
	}
	return nil
}

// watchSpace looks at the volume, and hands over leadership while it is low.
// Which peer has room it finds out by handing over: whoever has none does the
// same. When all were asked in vain they are asked ever less often.
func (r *Replica) watchSpace() {
	const first, last = 10 * time.Second, 10 * time.Minute
	tick := time.NewTicker(r.cfg.lookEvery)
	defer tick.Stop()
	pause, next, asked := first, time.Time{}, 0
	for {
		select {
		case <-tick.C:
		case <-r.latch.tripped:
			return
		case <-r.closing:
			return
		}
		r.volume.look()
		if r.volume.left() == RoomEnough {
			pause, next, asked = first, time.Time{}, 0
			continue
		}
		peers := r.otherVoters()
		if len(peers) == 0 || !r.leading.Load() || time.Now().Before(next) {
			continue
		}
		peer := peers[asked%len(peers)]
		if asked++; asked%len(peers) == 0 {
			next, pause = time.Now().Add(pause), min(2*pause, last)
		}
		if err := r.await(r.raft.LeadershipTransferToServer(peer.ID, peer.Address)); err != nil {
			r.cfg.Log.Warn("leadership is not handed over, though the disk is low", "node", string(peer.ID), "error", err)
		}
	}
}

// otherVoters returns this node's peers, those first that come after it.
func (r *Replica) otherVoters() []raft.Server {
	configuration := r.raft.GetConfiguration() // a copy: does not wait for the main loop
	var before, after []raft.Server
	self := false
	for _, server := range configuration.Configuration().Servers {
		switch {
		case server.ID == raft.ServerID(r.cfg.Node):
			self = true
		case server.Suffrage != raft.Voter:
		case self:
			after = append(after, server)
		default:
			before = append(before, server)
		}
	}
	return append(after, before...)
}
