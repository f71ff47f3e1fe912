package replica

import (
	"errors"
	"fmt"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"

	"github.com/entente-sync/entente/hub/command"
)

// Kinds of raft's messages, as its transport numbers them.
const (
	rpcAppendEntries byte = iota
	rpcRequestVote
	rpcInstallSnapshot
	rpcTimeoutNow
	rpcRequestPreVote
	rpcKinds
)

const (
	// termMax is more elections than any hub holds. A term beyond it would leave no
	// higher one to be elected in, for ever.
	termMax = 1 << 62
	// snapshotBytesMax is what a message may announce behind itself.
	snapshotBytesMax = 1 << 40
	// membersMax and membershipBytesMax bound a membership in the log.
	membersMax         = 64
	membershipBytesMax = 64 << 10
)

// Codes of refusals on the node port: labels of a metric.
const (
	refusedKind       = "frame.kind"       // no message of raft begins so
	refusedShape      = "frame.shape"      // larger or deeper than any, or no MessagePack
	refusedDecode     = "frame.decode"     // not what its kind promises
	refusedSender     = "frame.sender"     // it speaks in another node's name
	refusedTerm       = "frame.term"       // no term follows that one
	refusedEntries    = "frame.entries"    // raft would die of them, or this node when it applies them
	refusedMembership = "frame.membership" // likewise
	refusedSnapshot   = "frame.snapshot"   // likewise
	refusedSlow       = "frame.slow"       // it began and did not end
	refusedCrowded    = "port.crowded"     // too many connections
	refusedRemoved    = "port.removed"     // it has left for good
)

// refusalCodes is all of them.
var refusalCodes = []string{
	refusedKind, refusedShape, refusedDecode, refusedSender, refusedTerm, refusedEntries, refusedMembership,
	refusedSnapshot, refusedSlow, refusedCrowded, refusedRemoved,
}

// refused is why a message does not reach raft.
type refused struct {
	code string
	err  error
}

func (r *refused) Error() string { return r.code + ": " + r.err.Error() }
func (r *refused) Unwrap() error { return r.err }

func refuse(code, format string, args ...any) error {
	return &refused{code, fmt.Errorf(format, args...)}
}

// vetter decides which messages of one peer raft may see. It is for one goroutine.
type vetter struct {
	peer string // "": unknown, without TLS
	// entry says why this node could not apply a command; nil: nothing is asked.
	entry func(data []byte) error
}

// vet returns how many bytes follow the message, or a *refused. What it lets
// through raft decodes without panic: it is decoded here before, by the same code.
func (v *vetter) vet(message []byte) (follow int64, err error) {
	switch message[0] {
	case rpcAppendEntries:
		var req raft.AppendEntriesRequest
		if err := unpack(message[1:], &req); err != nil {
			return 0, err
		}
		return 0, errors.Join(v.header(req.RPCHeader, req.Term), v.entries(&req))
	case rpcRequestVote:
		var req raft.RequestVoteRequest
		if err := unpack(message[1:], &req); err != nil {
			return 0, err
		}
		return 0, v.header(req.RPCHeader, req.Term, req.LastLogTerm)
	case rpcRequestPreVote:
		var req raft.RequestPreVoteRequest
		if err := unpack(message[1:], &req); err != nil {
			return 0, err
		}
		return 0, v.header(req.RPCHeader, req.Term, req.LastLogTerm)
	case rpcTimeoutNow:
		var req raft.TimeoutNowRequest
		if err := unpack(message[1:], &req); err != nil {
			return 0, err
		}
		return 0, v.header(req.RPCHeader)
	case rpcInstallSnapshot:
		var req raft.InstallSnapshotRequest
		if err := unpack(message[1:], &req); err != nil {
			return 0, err
		}
		return req.Size, errors.Join(v.header(req.RPCHeader, req.Term, req.LastLogTerm), v.snapshot(&req))
	}
	return 0, refuse(refusedKind, "%#x", message[0])
}

func unpack(value []byte, into any) error {
	if err := codec.NewDecoderBytes(value, &codec.MsgpackHandle{}).Decode(into); err != nil {
		return refuse(refusedDecode, "%w", err)
	}
	return nil
}

// header compares whom a message speaks for with whose certificate was shown.
func (v *vetter) header(h raft.RPCHeader, terms ...uint64) error {
	if v.peer != "" && (string(h.ID) != v.peer || string(h.Addr) != v.peer) {
		return refuse(refusedSender, "it is of %.64q at %.64q", h.ID, h.Addr)
	}
	for _, term := range terms {
		if term >= termMax {
			return refuse(refusedTerm, "term %d", term)
		}
	}
	return nil
}

// entries refuses what raft, the log or the state machine would stop at: raft
// dereferences every entry and panics at types that it does not know, the log takes
// a gap for a failed write.
func (v *vetter) entries(req *raft.AppendEntriesRequest) error {
	if req.PrevLogTerm >= termMax || req.PrevLogEntry >= 1<<63 {
		return refuse(refusedTerm, "behind entry %d of term %d", req.PrevLogEntry, req.PrevLogTerm)
	}
	if len(req.Entries) > appendEntriesMax {
		return refuse(refusedEntries, "%d entries, at most %d", len(req.Entries), appendEntriesMax)
	}
	term := req.PrevLogTerm
	for i, e := range req.Entries {
		if e == nil {
			return refuse(refusedEntries, "entry %d of %d is nil", i, len(req.Entries))
		}
		if e.Index != req.PrevLogEntry+1+uint64(i) || e.Term < term || e.Term > req.Term {
			return refuse(refusedEntries, "entry %d of term %d, number %d behind %d of term %d, by a leader of term %d",
				e.Index, e.Term, i, req.PrevLogEntry, req.PrevLogTerm, req.Term)
		}
		term = e.Term
		if err := v.content(e); err != nil {
			return err
		}
	}
	return nil
}

func (v *vetter) content(e *raft.Log) error {
	switch {
	case len(e.Data) > command.EntryBytesMax || len(e.Extensions) > sealBytes:
		return refuse(refusedEntries, "entry %d has %d bytes and %d beside", e.Index, len(e.Data), len(e.Extensions))
	case e.Type == raft.LogCommand && v.entry != nil:
		if err := v.entry(e.Data); err != nil {
			return refuse(refusedEntries, "entry %d: %w", e.Index, err)
		}
	case e.Type == raft.LogConfiguration:
		return membershipOf(e.Data)
	case e.Type != raft.LogCommand && e.Type != raft.LogNoop && e.Type != raft.LogBarrier:
		return refuse(refusedEntries, "entry %d is of type %d", e.Index, e.Type)
	}
	return nil
}

func (v *vetter) snapshot(req *raft.InstallSnapshotRequest) error {
	if req.SnapshotVersion != 1 || req.Size < 1 || req.Size > snapshotBytesMax || req.LastLogIndex == 0 ||
		req.LastLogIndex >= 1<<63 || req.LastLogTerm > req.Term || req.ConfigurationIndex > req.LastLogIndex {
		return refuse(refusedSnapshot, "version %d, %d bytes, up to entry %d of term %d, members of entry %d",
			req.SnapshotVersion, req.Size, req.LastLogIndex, req.LastLogTerm, req.ConfigurationIndex)
	}
	return membershipOf(req.Configuration)
}

// membershipOf refuses a membership that raft panics at, or that nobody can have
// decided on.
func membershipOf(data []byte) error {
	var members raft.Configuration
	if len(data) > membershipBytesMax || !shaped(data) {
		return refuse(refusedMembership, "%d bytes that are no membership", len(data))
	}
	if err := unpack(data, &members); err != nil {
		return refuse(refusedMembership, "%w", err)
	}
	seen, voters := map[raft.ServerID]bool{}, 0
	for _, s := range members.Servers {
		if s.ID == "" || string(s.ID) != string(s.Address) || seen[s.ID] || s.Suffrage > raft.Staging || s.Suffrage < raft.Voter {
			return refuse(refusedMembership, "member %.64q at %.64q", s.ID, s.Address)
		}
		seen[s.ID] = true
		if s.Suffrage == raft.Voter {
			voters++
		}
	}
	if voters == 0 || len(seen) > membersMax {
		return refuse(refusedMembership, "%d members, %d voters", len(seen), voters)
	}
	return nil
}

// decodable is the vetter's question about commands: damage and nonsense must not
// get into the log, where every node would stop at them. What a newer program wrote
// may: this one stops there, as it must.
func decodable() func([]byte) error {
	var decoder command.Decoder
	return func(data []byte) error {
		_, err := decoder.Decode(data)
		if errors.Is(err, command.ErrNewer) || errors.Is(err, command.ErrKind) {
			return nil
		}
		return err
	}
}
