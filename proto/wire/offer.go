package wire

import (
	"github.com/entente-sync/entente/crdt"
	syncv1 "github.com/entente-sync/entente/proto/entente/sync/v1"
)

func encodeOffer(o Offer) (*syncv1.OfferRequest, error) {
	if err := checkOffer(&o); err != nil {
		return nil, err
	}
	m := &syncv1.OfferRequest{
		Batch: o.ID, Pact: string(o.Pact), Epoch: uint64(o.Epoch),
		Registers: make([]*syncv1.OfferedRegister, len(o.Registers)), Lineage: encodeLineage(o.Lineage), End: encodeOfferEnd(o.End),
	}
	for i := range o.Registers {
		r := &o.Registers[i]
		if r.Op.Key.Pact != o.Pact {
			return nil, Errorf(ReasonOpMalformed, "register %d of an offer to pact %s is of pact %s", i, o.Pact, r.Op.Key.Pact)
		}
		m.Registers[i] = &syncv1.OfferedRegister{
			Op: encodeOp(&r.Op), Birth: encodePosition(r.Birth), Place: encodePosition(r.Place),
		}
	}
	return m, nil
}

func decodeOffer(m *syncv1.OfferRequest) (Offer, error) {
	if n := len(m.GetRegisters()); n > BatchOpsMax {
		return Offer{}, Errorf(ReasonBatchOversize, "%d registers, limit %d", n, BatchOpsMax)
	}
	if n := len(m.GetLineage()); n > LineageMax {
		return Offer{}, Errorf(ReasonMalformed, "%d forks, limit %d", n, LineageMax)
	}
	pact, err := decodePact(m.GetPact())
	if err != nil {
		return Offer{}, err
	}
	o := Offer{
		ID: m.GetBatch(), Pact: pact, Epoch: crdt.Epoch(m.GetEpoch()),
		Registers: make([]Offered, len(m.GetRegisters())), Lineage: decodeLineage(m.GetLineage()),
	}
	for i, r := range m.GetRegisters() {
		op, err := decodeOp(pact, r.GetOp())
		if err != nil {
			return Offer{}, Errorf(ReasonOf(err), "register %d of offer %d: %w", i, o.ID, err)
		}
		o.Registers[i] = Offered{
			Op: op, Birth: decodePosition(r.GetBirth()), Place: decodePosition(r.GetPlace()),
		}
	}
	if o.End, err = decodeOfferEnd(m.GetEnd()); err != nil {
		return Offer{}, err
	}
	return o, checkOffer(&o)
}

// checkOffer asks the same on both sides: sizes, and births, which nothing that
// was read from a feed lacks.
func checkOffer(o *Offer) error {
	if len(o.Registers) == 0 && o.End == nil {
		return Errorf(ReasonMalformed, "an offer of nothing")
	}
	if n := len(o.Registers); n > BatchOpsMax {
		return Errorf(ReasonBatchOversize, "%d registers, limit %d", n, BatchOpsMax)
	}
	size := 0
	for i := range o.Registers {
		r := &o.Registers[i]
		if n, limit := len(r.Op.Value), r.Op.Key.Field.ValueBytesMax(); n > limit {
			return Errorf(ReasonOpOversize, "register %d: value of %d bytes, limit %d", i, n, limit)
		}
		if r.Birth.Epoch == 0 || r.Birth.Offset == 0 {
			return Errorf(ReasonOpMalformed, "register %d was born at %s", i, r.Birth)
		}
		size += OpBytes(&r.Op)
	}
	if size > BatchBytesMax {
		return Errorf(ReasonBatchOversize, "%d bytes, limit %d", size, BatchBytesMax)
	}
	if n := len(o.Lineage); n > LineageMax {
		return Errorf(ReasonMalformed, "%d forks, limit %d", n, LineageMax)
	}
	if e := o.End; e != nil && len(e.Held) > HeldMax {
		return Errorf(ReasonMalformed, "an end of %d positions, limit %d", len(e.Held), HeldMax)
	}
	return nil
}

func encodeOfferEnd(e *OfferEnd) *syncv1.OfferEnd {
	if e == nil {
		return nil
	}
	m := &syncv1.OfferEnd{After: encodeID(e.After)}
	for _, p := range e.Held {
		m.Held = append(m.Held, &syncv1.Position{Epoch: uint64(p.Epoch), Offset: uint64(p.Offset)})
	}
	return m
}

func decodeOfferEnd(m *syncv1.OfferEnd) (*OfferEnd, error) {
	if m == nil {
		return nil, nil
	}
	if n := len(m.GetHeld()); n > HeldMax {
		return nil, Errorf(ReasonMalformed, "an end of %d positions, limit %d", n, HeldMax)
	}
	after, err := decodeID(m.GetAfter())
	if err != nil {
		return nil, err
	}
	e := &OfferEnd{After: after}
	for _, p := range m.GetHeld() {
		e.Held = append(e.Held, decodePosition(p))
	}
	return e, nil
}

func encodeOfferResult(r BatchResult) (*syncv1.OfferResponse, error) {
	m, err := encodeResult(r)
	if err != nil {
		return nil, err
	}
	return &syncv1.OfferResponse{
		Batch: m.GetBatch(), Results: m.GetResults(), TimeMs: m.GetTimeMs(),
		RetryAfterMs: m.GetRetryAfterMs(), Leader: m.GetLeader(),
	}, nil
}

func decodeOfferResult(m *syncv1.OfferResponse) (BatchResult, error) {
	return decodeResult(&syncv1.PublishResponse{
		Batch: m.GetBatch(), Results: m.GetResults(), TimeMs: m.GetTimeMs(),
		RetryAfterMs: m.GetRetryAfterMs(), Leader: m.GetLeader(),
	})
}

func checkDocument(document []byte) error {
	if n := len(document); n > OfferedDocumentMax {
		return Errorf(ReasonOversize, "a document of %d bytes, limit %d", n, OfferedDocumentMax)
	}
	return nil
}

func encodeAcceptance(a Acceptance) *syncv1.OfferPactResponse {
	m := &syncv1.OfferPactResponse{Version: a.Version}
	for _, site := range a.Missing {
		m.Missing = append(m.Missing, string(site))
	}
	return m
}

func decodeAcceptance(m *syncv1.OfferPactResponse) (Acceptance, error) {
	if n := len(m.GetMissing()); n > MissingMax {
		return Acceptance{}, Errorf(ReasonMalformed, "%d members are missing, limit %d", n, MissingMax)
	}
	a := Acceptance{Version: m.GetVersion()}
	for _, name := range m.GetMissing() {
		site, err := crdt.ParseSite(name)
		if err != nil {
			return Acceptance{}, Errorf(ReasonMalformed, "%w", err)
		}
		a.Missing = append(a.Missing, site)
	}
	return a, nil
}
