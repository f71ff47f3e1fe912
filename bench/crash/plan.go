package crash

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Class is a kind of fault.
type Class string

// Classes of fault.
const (
	KillOne      Class = "kill one"
	KillLeader   Class = "kill leader"
	KillTwo      Class = "kill two"
	KillAll      Class = "kill all"
	KillCatchUp  Class = "kill while catching up"
	PauseLeader  Class = "pause leader"
	PauseOne     Class = "pause follower"
	Partition    Class = "partition"
	OneWayCut    Class = "one-way cut"
	Isolation    Class = "isolate leader"
	Delay        Class = "delay"
	RateLimit    Class = "rate limit"
	HalfOpen     Class = "half-open connections"
	SlowDisk     Class = "slow disk"
	StalledDisk  Class = "stalled disk"
	FullDisk     Class = "full disk"
	FailedSync   Class = "failed sync"
	PowerOne     Class = "power loss, one"
	PowerAll     Class = "power loss, all"
	PowerTornOne Class = "power loss with torn writes, one"
	PowerTornAll Class = "power loss with torn writes, all"
	BitFlip      Class = "bit flip at rest"
	Restart      Class = "graceful restart"
)

// Classes returns all of them.
func Classes() []Class {
	return []Class{
		KillOne, KillLeader, KillTwo, KillAll, KillCatchUp, PauseLeader, PauseOne, Partition, OneWayCut, Isolation,
		Delay, RateLimit, HalfOpen, SlowDisk, StalledDisk, FullDisk, FailedSync,
		PowerOne, PowerAll, PowerTornOne, PowerTornAll, BitFlip, Restart,
	}
}

// light are those that go together with any other.
func light() []Class {
	return []Class{KillOne, PauseLeader, PauseOne, OneWayCut, Delay, RateLimit, HalfOpen, SlowDisk, Restart}
}

// alone are those beside which a second fault would prove nothing, or too much:
// a damaged node is rebuilt from the two others.
func alone(c Class) bool { return c == BitFlip || c == FailedSync }

// Role says which node a fault meets; who that is shows when it comes.
type Role int

// Roles.
const (
	AnyNode Role = iota
	LeaderNode
	FollowerNode
)

// Fault is one fault of a plan.
type Fault struct {
	Class  Class
	At     time.Duration // since the round began
	For    time.Duration
	Role   Role
	Pick   int           // of the nodes that have the role
	Delay  time.Duration // of a message, or a sync
	Rate   int           // bytes a second
	Spare  int64         // bytes that stay free
	Toward int           // 0: all others; else the other node
	Draw   uint64        // seeds what the fault itself draws
}

func (f Fault) String() string {
	roles := [...]string{"any", "leader", "follower"}
	s := fmt.Sprintf("%4d ms %s (%s %d) for %d ms", f.At.Milliseconds(), f.Class, roles[f.Role], f.Pick, f.For.Milliseconds())
	if f.Delay > 0 {
		s += fmt.Sprintf(", delay %s", f.Delay)
	}
	if f.Rate > 0 {
		s += fmt.Sprintf(", %d B/s", f.Rate)
	}
	return s
}

// roundLength is how long a round works under faults.
const roundLength = 1300 * time.Millisecond

// Plan returns the faults of one round. It is a pure function, and in as many
// rounds as there are classes each comes once as the first fault.
func Plan(seed uint64, round int) []Fault {
	classes := Classes()
	deck := rand.New(rand.NewPCG(seed, uint64(round/len(classes))))
	deck.Shuffle(len(classes), func(i, j int) { classes[i], classes[j] = classes[j], classes[i] })
	draw := rand.New(rand.NewPCG(seed, 1<<32+uint64(round)))
	first := classes[round%len(classes)]
	faults := []Fault{fault(first, draw)}
	if !alone(first) {
		for draw.IntN(2) == 0 && len(faults) < 3 {
			faults = append(faults, fault(light()[draw.IntN(len(light()))], draw))
		}
	}
	return faults
}

func fault(c Class, draw *rand.Rand) Fault {
	f := Fault{
		Class: c, Pick: draw.IntN(3), Draw: draw.Uint64(),
		At:     time.Duration(100+draw.IntN(500)) * time.Millisecond,
		For:    time.Duration(100+draw.IntN(900)) * time.Millisecond,
		Toward: draw.IntN(2),
	}
	switch c {
	case KillLeader, PauseLeader, Isolation:
		f.Role = LeaderNode
	case PauseOne:
		f.Role = FollowerNode
	case KillCatchUp:
		f.Role, f.At, f.For = FollowerNode, 0, roundLength
	case Delay:
		f.Delay = time.Duration(2+draw.IntN(60)) * time.Millisecond
	case RateLimit:
		f.Rate = 10_000 + draw.IntN(300_000)
	case SlowDisk:
		f.Delay = time.Duration(5+draw.IntN(80)) * time.Millisecond
	case StalledDisk:
		f.Delay, f.For = time.Hour, roundLength
	case FullDisk:
		f.Spare = int64(draw.IntN(64 << 10))
	case BitFlip:
		f.At, f.For = 0, 0
	}
	if c == Partition || c == SlowDisk || c == StalledDisk || c == FullDisk || c == FailedSync || c == Restart {
		f.Role = Role(draw.IntN(3))
	}
	return f
}

// PlanText is a round's plan for people.
func PlanText(faults []Fault) string {
	var lines []string
	for _, f := range faults {
		lines = append(lines, "  "+f.String())
	}
	return strings.Join(lines, "\n")
}
