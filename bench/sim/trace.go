package sim

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"strings"

	"github.com/entente-sync/entente/agent/store"
)

// trace is the story of one run: always as a hash over everything that was
// stored, logged and written, and as text where somebody asked for it.
type trace struct {
	sum   hash.Hash
	lines []string
	keep  bool
}

func newTrace(keep bool) *trace { return &trace{sum: sha256.New(), keep: keep} }

// mix adds a number and bytes to the hash.
func (t *trace) mix(n uint64, b ...[]byte) {
	t.sum.Write(binary.LittleEndian.AppendUint64(nil, n))
	for _, part := range b {
		t.sum.Write(part)
	}
}

// logf adds a line. Callers that format a lot ask keep first.
func (t *trace) logf(atMillis int64, format string, args ...any) {
	if t.keep {
		t.lines = append(t.lines, fmt.Sprintf("%8d ", atMillis-startMillis)+fmt.Sprintf(format, args...))
	}
}

// about returns the lines that mention one of the names, at most linesMax, the
// newest; all of them for no names.
func (t *trace) about(names []string, linesMax int) []string {
	var out []string
	for _, line := range t.lines {
		for _, name := range names {
			if strings.Contains(line, name) {
				out = append(out, line)
				break
			}
		}
		if len(names) == 0 {
			out = append(out, line)
		}
	}
	return out[max(0, len(out)-linesMax):]
}

// hashed is a transaction whose writes go into the trace's hash.
type hashed struct {
	store.Tx
	trace *trace
}

func (h hashed) Set(key, value []byte) error {
	h.trace.mix(uint64(len(key)), key, value)
	return h.Tx.Set(key, value)
}

func (h hashed) Delete(key []byte) error {
	h.trace.mix(0, key)
	return h.Tx.Delete(key)
}
