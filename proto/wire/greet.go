package wire

import (
	"encoding/hex"
	"time"

	"github.com/entente-sync/entente/crdt"
	syncv1 "github.com/entente-sync/entente/proto/entente/sync/v1"
)

func encodeHello(h Hello) *syncv1.GreetRequest {
	m := &syncv1.GreetRequest{
		Protocol: protocolOr(h.Protocol), Software: h.Software, Incarnation: h.Incarnation,
		Pacts: make([]string, len(h.Pacts)),
	}
	for i, p := range h.Pacts {
		m.Pacts[i] = string(p)
	}
	return m
}

func decodeHello(m *syncv1.GreetRequest) (Hello, error) {
	if err := checkProtocol(m.GetProtocol()); err != nil {
		return Hello{}, err
	}
	if n := len(m.GetSoftware()); n > softwareBytesMax {
		return Hello{}, Errorf(ReasonMalformed, "software of %d bytes, limit %d", n, softwareBytesMax)
	}
	if n := len(m.GetPacts()); n > PactsMax {
		return Hello{}, Errorf(ReasonMalformed, "%d pacts, limit %d", n, PactsMax)
	}
	h := Hello{Protocol: m.GetProtocol(), Software: m.GetSoftware(), Incarnation: m.GetIncarnation()}
	for _, p := range m.GetPacts() {
		pact, err := decodePact(p)
		if err != nil {
			return Hello{}, err
		}
		h.Pacts = append(h.Pacts, pact)
	}
	return h, nil
}

func encodeWelcome(w Welcome) *syncv1.GreetResponse {
	m := &syncv1.GreetResponse{
		Protocol: protocolOr(w.Protocol), Hub: w.Hub, Epoch: uint64(w.Epoch),
		TimeMs: w.TimeMillis, DriftMaxMs: w.DriftMax.Milliseconds(),
		Pacts: make([]*syncv1.PactState, len(w.Pacts)),
	}
	for i := range w.Pacts {
		m.Pacts[i] = encodePactState(&w.Pacts[i])
	}
	return m
}

func decodeWelcome(m *syncv1.GreetResponse) (Welcome, error) {
	if err := checkProtocol(m.GetProtocol()); err != nil {
		return Welcome{}, err
	}
	if raw, err := hex.DecodeString(m.GetHub()); err != nil || len(raw) != 16 {
		return Welcome{}, Errorf(ReasonMalformed, "hub id of %d bytes, want 32 hexadecimal digits", len(m.GetHub()))
	}
	if n := len(m.GetPacts()); n > PactsMax {
		return Welcome{}, Errorf(ReasonMalformed, "%d pacts, limit %d", n, PactsMax)
	}
	if ms := m.GetDriftMaxMs(); ms < 0 || ms > driftMillisMax {
		return Welcome{}, Errorf(ReasonMalformed, "drift of %d ms", ms)
	}
	w := Welcome{
		Protocol: m.GetProtocol(), Hub: m.GetHub(), Epoch: crdt.Epoch(m.GetEpoch()),
		TimeMillis: m.GetTimeMs(), DriftMax: time.Duration(m.GetDriftMaxMs()) * time.Millisecond,
	}
	for _, p := range m.GetPacts() {
		state, err := decodePactState(p)
		if err != nil {
			return Welcome{}, err
		}
		w.Pacts = append(w.Pacts, state)
	}
	return w, nil
}

func encodePactState(p *PactState) *syncv1.PactState {
	m := &syncv1.PactState{
		Pact: string(p.Pact), Refused: string(p.Refused),
		Document: p.Document, Version: p.Version, Head: uint64(p.Head),
	}
	m.Lineage = encodeLineage(p.Lineage)
	for _, a := range p.Authors {
		m.Authors = append(m.Authors, &syncv1.AuthorState{
			Author: encodeAuthor(a.Author), Seen: uint64(a.Seen), Applied: uint64(a.Applied), Heard: uint64(a.Heard),
		})
	}
	return m
}

func decodePactState(m *syncv1.PactState) (PactState, error) {
	pact, err := decodePact(m.GetPact())
	if err != nil {
		return PactState{}, err
	}
	if len(m.GetDocument()) > documentBytesMax || len(m.GetLineage()) > LineageMax ||
		len(m.GetAuthors()) > authorsMax || len(m.GetRefused()) > reasonBytesMax {
		return PactState{}, Errorf(ReasonMalformed, "state of pact %s: document of %d bytes, %d forks, %d authors",
			pact, len(m.GetDocument()), len(m.GetLineage()), len(m.GetAuthors()))
	}
	p := PactState{
		Pact: pact, Refused: Reason(m.GetRefused()),
		Document: m.GetDocument(), Version: m.GetVersion(), Head: crdt.Offset(m.GetHead()),
	}
	p.Lineage = decodeLineage(m.GetLineage())
	for _, a := range m.GetAuthors() {
		author, err := decodeAuthor(a.GetAuthor())
		if err != nil {
			return PactState{}, err
		}
		p.Authors = append(p.Authors, AuthorState{
			Author: author, Seen: crdt.Seq(a.GetSeen()), Applied: crdt.Seq(a.GetApplied()), Heard: crdt.Seq(a.GetHeard()),
		})
	}
	return p, nil
}

func encodeLineage(l crdt.Lineage) (out []*syncv1.Fork) {
	for _, f := range l {
		out = append(out, &syncv1.Fork{
			Child: uint64(f.Child), Parent: uint64(f.Parent), At: uint64(f.At), From: uint64(f.From),
		})
	}
	return out
}

func decodeLineage(m []*syncv1.Fork) (out crdt.Lineage) {
	for _, f := range m {
		out = append(out, crdt.Fork{
			Child: crdt.Epoch(f.GetChild()), Parent: crdt.Epoch(f.GetParent()),
			At: crdt.Offset(f.GetAt()), From: crdt.Offset(f.GetFrom()),
		})
	}
	return out
}

func protocolOr(v uint32) uint32 {
	if v == 0 {
		return Protocol
	}
	return v
}

func checkProtocol(v uint32) error {
	switch {
	case v > Protocol:
		return Errorf(ReasonVersionNewer, "protocol %d, known up to %d", v, Protocol)
	case v < Protocol:
		return Errorf(ReasonVersionOlder, "protocol %d, want %d", v, Protocol)
	}
	return nil
}
