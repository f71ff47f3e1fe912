package replica

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"
)

// given is a connection whose other side has sent everything already.
type given struct {
	io.Reader
	closed bool
}

func (*given) Write(b []byte) (int, error)      { return len(b), nil }
func (g *given) Close() error                   { g.closed = true; return nil }
func (*given) LocalAddr() net.Addr              { return nodeAddr("n1") }
func (*given) RemoteAddr() net.Addr             { return nodeAddr(hostile) }
func (*given) SetDeadline(time.Time) error      { return nil }
func (*given) SetReadDeadline(time.Time) error  { return nil }
func (*given) SetWriteDeadline(time.Time) error { return nil }

// FuzzRaftPort sends bytes to the port. What it lets through is what was sent, and
// raft's decoder takes it without panic and without a nil entry.
func FuzzRaftPort(f *testing.F) {
	for _, frame := range hostileFrames() { // most of them are in testdata too, beside messages that pass
		f.Add(frame.bytes)
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		if len(sent) == 0 {
			return
		}
		port := newRaftPort(&Config{RPCTimeout: time.Second, Log: slog.New(slog.DiscardHandler), vet: decodable})
		raw := &given{Reader: bytes.NewReader(sent[1:])}
		conn, ok := port.enter(hostile, raw, sent[:1])
		if !ok {
			t.Fatal("no room for one connection")
		}
		got, err := io.ReadAll(conn)
		if !bytes.HasPrefix(sent, got) {
			t.Fatalf("sent %x, got %x", sent, got)
		}
		if err != nil && !raw.closed {
			t.Fatalf("still open after %v", err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		if port.open != 0 || len(port.peers) != 0 {
			t.Fatalf("%d connections are left of %d peers", port.open, len(port.peers))
		}
		decodeAsRaft(t, got)
	})
}

// decodeAsRaft does with bytes what the library's transport and main loop do.
func decodeAsRaft(t *testing.T, stream []byte) {
	t.Helper()
	in := bufio.NewReader(bytes.NewReader(stream))
	decoder := codec.NewDecoder(in, &codec.MsgpackHandle{})
	for {
		kind, err := in.ReadByte()
		if errors.Is(err, io.EOF) {
			return
		}
		var append raft.AppendEntriesRequest
		var install raft.InstallSnapshotRequest
		switch kind {
		case rpcAppendEntries:
			err = decoder.Decode(&append)
		case rpcInstallSnapshot:
			err = decoder.Decode(&install)
		case rpcRequestVote:
			err = decoder.Decode(&raft.RequestVoteRequest{})
		case rpcRequestPreVote:
			err = decoder.Decode(&raft.RequestPreVoteRequest{})
		default:
			err = decoder.Decode(&raft.TimeoutNowRequest{})
		}
		if err != nil {
			t.Fatalf("kind %d: %v", kind, err)
		}
		for _, e := range append.Entries {
			if e.Type == raft.LogConfiguration {
				raft.DecodeConfiguration(e.Data)
			}
		}
		if kind == rpcInstallSnapshot {
			raft.DecodeConfiguration(install.Configuration)
			if _, err := io.CopyN(io.Discard, in, install.Size); err != nil {
				return // the sender stopped within it
			}
		}
	}
}
