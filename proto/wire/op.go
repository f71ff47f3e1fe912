package wire

import (
	"github.com/entente-sync/entente/crdt"
	syncv1 "github.com/entente-sync/entente/proto/entente/sync/v1"
)

func encodeOp(o *crdt.Op) *syncv1.Op {
	return &syncv1.Op{
		Type:          string(o.Key.Type),
		Record:        o.Key.Record[:],
		Field:         string(o.Key.Field),
		Stamp:         uint64(o.Stamp),
		Author:        encodeAuthor(o.Author),
		Seq:           uint64(o.Seq),
		Base:          encodeBase(o.Base),
		PactVersion:   o.PactVersion,
		Binding:       o.Binding,
		Evidence:      syncv1.EvidenceClass(o.Evidence.Class),
		UncertaintyMs: o.Evidence.UncertaintyMillis,
		Value:         o.Value,
	}
}

// decodeOp reads an op of pact; its Value aliases m.
func decodeOp(pact crdt.Pact, m *syncv1.Op) (crdt.Op, error) {
	if m == nil {
		return crdt.Op{}, Errorf(ReasonOpMalformed, "no op")
	}
	var o crdt.Op
	switch {
	case len(m.GetType()) == 0 || len(m.GetType()) > crdt.TypeBytesMax:
		return o, Errorf(ReasonOpMalformed, "record type of %d bytes, want 1 to %d", len(m.GetType()), crdt.TypeBytesMax)
	case len(m.GetRecord()) != len(o.Key.Record):
		return o, Errorf(ReasonOpMalformed, "record id of %d bytes, want %d", len(m.GetRecord()), len(o.Key.Record))
	case len(m.GetField()) == 0 || len(m.GetField()) > crdt.FieldBytesMax:
		return o, Errorf(ReasonOpMalformed, "field of %d bytes, want 1 to %d", len(m.GetField()), crdt.FieldBytesMax)
	case len(m.GetValue()) > crdt.Field(m.GetField()).ValueBytesMax():
		return o, Errorf(ReasonOpOversize, "value of %d bytes, limit %d", len(m.GetValue()), crdt.Field(m.GetField()).ValueBytesMax())
	case m.GetEvidence() < 0 || m.GetEvidence() > syncv1.EvidenceClass_EVIDENCE_CLASS_POLL:
		return o, Errorf(ReasonOpMalformed, "unknown evidence class %d", m.GetEvidence())
	}
	o = crdt.Op{
		Key:         crdt.Key{Pact: pact, Type: crdt.Type(m.GetType()), Field: crdt.Field(m.GetField())},
		Stamp:       crdt.Stamp(m.GetStamp()),
		Seq:         crdt.Seq(m.GetSeq()),
		PactVersion: m.GetPactVersion(),
		Binding:     m.GetBinding(),
		Evidence:    crdt.Evidence{Class: crdt.EvidenceClass(m.GetEvidence()), UncertaintyMillis: m.GetUncertaintyMs()},
		Value:       m.GetValue(),
	}
	copy(o.Key.Record[:], m.GetRecord())
	var err error
	if o.Author, err = decodeAuthor(m.GetAuthor()); err != nil {
		return crdt.Op{}, err
	}
	if o.Base.Pred, err = decodeID(m.GetBase().GetPred()); err != nil {
		return crdt.Op{}, err
	}
	o.Base.Birth = decodePosition(m.GetBase().GetBirth())
	return o, nil
}

func encodeAuthor(a crdt.Author) *syncv1.Author {
	if a.IsZero() {
		return nil
	}
	return &syncv1.Author{Site: string(a.Site), Agent: string(a.Agent), Incarnation: a.Incarnation}
}

func decodeAuthor(m *syncv1.Author) (crdt.Author, error) {
	if len(m.GetSite()) > crdt.NameBytesMax || len(m.GetAgent()) > crdt.NameBytesMax {
		return crdt.Author{}, Errorf(ReasonOpMalformed, "author's names of %d and %d bytes, limit %d",
			len(m.GetSite()), len(m.GetAgent()), crdt.NameBytesMax)
	}
	return crdt.Author{
		Site: crdt.Site(m.GetSite()), Agent: crdt.AgentName(m.GetAgent()), Incarnation: m.GetIncarnation(),
	}, nil
}

func encodeID(id crdt.OpID) *syncv1.OpID {
	if id.IsZero() {
		return nil
	}
	return &syncv1.OpID{Author: encodeAuthor(id.Author), Seq: uint64(id.Seq)}
}

func decodeID(m *syncv1.OpID) (crdt.OpID, error) {
	author, err := decodeAuthor(m.GetAuthor())
	if err != nil {
		return crdt.OpID{}, err
	}
	return crdt.OpID{Author: author, Seq: crdt.Seq(m.GetSeq())}, nil
}

func encodeBase(b crdt.Base) *syncv1.Base {
	if b == (crdt.Base{}) {
		return nil
	}
	return &syncv1.Base{Pred: encodeID(b.Pred), Birth: encodePosition(b.Birth)}
}

func encodePosition(p crdt.Position) *syncv1.Position {
	if p.IsZero() {
		return nil
	}
	return &syncv1.Position{Epoch: uint64(p.Epoch), Offset: uint64(p.Offset)}
}

func decodePosition(m *syncv1.Position) crdt.Position {
	return crdt.Position{Epoch: crdt.Epoch(m.GetEpoch()), Offset: crdt.Offset(m.GetOffset())}
}

func decodePact(s string) (crdt.Pact, error) {
	p, err := crdt.ParsePact(s)
	if err != nil {
		return "", Errorf(ReasonMalformed, "%w", err)
	}
	return p, nil
}
