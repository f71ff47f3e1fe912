package replica

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// transport is raft's network transport without its heartbeat fast path, and
// with a way to fall silent.
//
// With a heartbeat handler set, the library answers heartbeats on the
// connection's goroutine, which then races with the main loop over term, log and
// commit index: log matching and state machine safety can be violated (raft#695,
// open in v1.7.3 and v1.8.0). Not handing the handler on sends every heartbeat
// through the main loop. The price: heartbeats wait behind disk writes, so
// election timeouts are seconds, not fractions of one.
type transport struct {
	*raft.NetworkTransport
	followers *followers
	silent    *atomic.Bool // while set, nothing is sent that a leader sends
}

// SetHeartbeatHandler drops the handler.
func (transport) SetHeartbeatHandler(func(raft.RPC)) {}

func newTransport(stream raft.StreamLayer, timeout time.Duration, silent *atomic.Bool, log *slog.Logger) transport {
	return transport{followers: newFollowers(), silent: silent, NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:                  stream,
		MaxPool:                 3,
		MaxRPCsInFlight:         1, // pipelining wedges a follower after a disk stall (raft#612)
		Timeout:                 timeout,
		Logger:                  newLogger(log, "raft-net"),
		MsgpackUseNewTimeFormat: true,
	})}
}

// RequestVote implements raft.Transport.
func (t transport) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest,
	resp *raft.RequestVoteResponse,
) error {
	err := t.NetworkTransport.RequestVote(id, target, args, resp)
	return believed(err, &resp.Term)
}

// RequestPreVote implements raft.WithPreVote.
func (t transport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest,
	resp *raft.RequestPreVoteResponse,
) error {
	err := t.NetworkTransport.RequestPreVote(id, target, args, resp)
	return believed(err, &resp.Term)
}

// believed turns an answer from a term that no election reaches into an error:
// raft would take the term for its own.
func believed(err error, term *uint64) error {
	if *term < termMax {
		return err
	}
	err = fmt.Errorf("the answer is of term %d", *term)
	*term = 0
	return err
}
