package wire

import (
	"time"

	"github.com/entente-sync/entente/crdt"
	syncv1 "github.com/entente-sync/entente/proto/entente/sync/v1"
)

func encodeBatch(b Batch) (*syncv1.PublishRequest, error) {
	if err := checkBatch(b.Ops); err != nil {
		return nil, err
	}
	m := &syncv1.PublishRequest{
		Batch: b.ID, Pact: string(b.Pact), Epoch: uint64(b.Epoch), After: encodeID(b.After),
		Ops: make([]*syncv1.Op, len(b.Ops)),
	}
	for i := range b.Ops {
		if b.Ops[i].Key.Pact != b.Pact {
			return nil, Errorf(ReasonOpMalformed, "op %d of a batch of pact %s is of pact %s", i, b.Pact, b.Ops[i].Key.Pact)
		}
		m.Ops[i] = encodeOp(&b.Ops[i])
	}
	return m, nil
}

func decodeBatch(m *syncv1.PublishRequest) (Batch, error) {
	if err := checkBatchCount(len(m.GetOps())); err != nil {
		return Batch{}, err
	}
	pact, err := decodePact(m.GetPact())
	if err != nil {
		return Batch{}, err
	}
	after, err := decodeID(m.GetAfter())
	if err != nil {
		return Batch{}, err
	}
	b := Batch{
		ID: m.GetBatch(), Pact: pact, Epoch: crdt.Epoch(m.GetEpoch()), After: after,
		Ops: make([]crdt.Op, len(m.GetOps())),
	}
	for i, op := range m.GetOps() {
		if b.Ops[i], err = decodeOp(pact, op); err != nil {
			return Batch{}, Errorf(ReasonOf(err), "op %d of batch %d: %w", i, b.ID, err)
		}
	}
	return b, checkBatch(b.Ops)
}

func checkBatchCount(n int) error {
	if n == 0 {
		return Errorf(ReasonMalformed, "a batch without ops")
	}
	if n > BatchOpsMax {
		return Errorf(ReasonBatchOversize, "%d ops, limit %d", n, BatchOpsMax)
	}
	return nil
}

func checkBatch(ops []crdt.Op) error {
	if err := checkBatchCount(len(ops)); err != nil {
		return err
	}
	size := 0
	for i := range ops {
		if n, limit := len(ops[i].Value), ops[i].Key.Field.ValueBytesMax(); n > limit {
			return Errorf(ReasonOpOversize, "op %d: value of %d bytes, limit %d", i, n, limit)
		}
		size += OpBytes(&ops[i])
	}
	if size > BatchBytesMax {
		return Errorf(ReasonBatchOversize, "%d bytes, limit %d", size, BatchBytesMax)
	}
	return nil
}

func encodeResult(r BatchResult) (*syncv1.PublishResponse, error) {
	m := &syncv1.PublishResponse{
		Batch: r.Batch, TimeMs: r.TimeMillis, RetryAfterMs: millisUp(r.RetryAfter), Leader: r.Leader,
		Results: make([]*syncv1.OpResult, len(r.Results)),
	}
	for i, o := range r.Results {
		if o.Outcome < OutcomeApplied || o.Outcome > OutcomeGap {
			return nil, Errorf(ReasonMalformed, "result %d: unknown outcome %d", i, o.Outcome)
		}
		m.Results[i] = &syncv1.OpResult{
			Outcome: syncv1.Outcome(o.Outcome), Reason: string(o.Reason), Offset: uint64(o.Offset),
		}
	}
	return m, nil
}

func decodeResult(m *syncv1.PublishResponse) (BatchResult, error) {
	if n := len(m.GetResults()); n > BatchOpsMax+1 { // one more for the end of an offer
		return BatchResult{}, Errorf(ReasonMalformed, "%d results, limit %d", n, BatchOpsMax+1)
	}
	if n := len(m.GetLeader()); n > hostPortBytesMax {
		return BatchResult{}, Errorf(ReasonMalformed, "leader of %d bytes, limit %d", n, hostPortBytesMax)
	}
	r := BatchResult{
		Batch: m.GetBatch(), TimeMillis: m.GetTimeMs(), Leader: m.GetLeader(),
		RetryAfter: time.Duration(m.GetRetryAfterMs()) * time.Millisecond,
		Results:    make([]OpResult, len(m.GetResults())),
	}
	for i, o := range m.GetResults() {
		outcome, reason := o.GetOutcome(), Reason(o.GetReason())
		if outcome < syncv1.Outcome_OUTCOME_APPLIED || outcome > syncv1.Outcome_OUTCOME_GAP {
			return BatchResult{}, Errorf(ReasonMalformed, "result %d: unknown outcome %d", i, outcome)
		}
		if len(reason) > reasonBytesMax {
			return BatchResult{}, Errorf(ReasonMalformed, "result %d: reason of %d bytes", i, len(reason))
		}
		r.Results[i] = OpResult{Outcome: Outcome(outcome), Reason: reason, Offset: crdt.Offset(o.GetOffset())}
	}
	return r, nil
}
