package core

import (
	"github.com/entente-sync/entente/agent/inbox"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/agent/store/pack"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

const (
	tableJob   = 'b' // system -> Job
	tableQueue = 'B' // system, local key -> queued
)

const jobVersion = 1

// JobKind says where the records of a job come from.
type JobKind uint8

// Kinds of jobs.
const (
	JobBackfill JobKind = 1 // everything that the system lists, from its beginning
	JobResync   JobKind = 2 // everything that is linked
)

// JobState says how a job stands.
type JobState uint8

// States of jobs.
const (
	JobRunning   JobState = 1
	JobPaused    JobState = 2
	JobDone      JobState = 3
	JobCancelled JobState = 4
)

// Job looks at many records of one system again, behind whatever people edit
// meanwhile. A system has one at a time; the last one stays to be looked at.
type Job struct {
	Kind   JobKind
	State  JobState
	DryRun bool // nothing is taken in: the counts say what would be
	// SinceMillis and Filter leave records out that are not linked yet: those
	// changed before, and those that the filter does not let in.
	SinceMillis int64
	Filter      string
	Rate        uint64 // records a second; 0 is no limit of its own
	By          string
	// StartedMillis names the job; ActiveMillis is how long it ran before RunMillis,
	// when it was last started or resumed; EndedMillis is when it ended.
	StartedMillis, ActiveMillis, RunMillis, EndedMillis int64

	Whole bool // every record is on the list: Total is final
	Total uint64
	Count JobCount
	// Waits is why nothing goes on until WaitsMillis, a class of faults or "rate".
	Waits       string
	WaitsMillis int64

	cursor []byte // of the listing, or the last key
	asked  bool   // a page of the listing is under way
}

// JobCount counts the records that a job looked at. Each counts once.
type JobCount struct {
	Entered   uint64 // new in the pact
	Connected uint64 // tied to a record that the pact had
	Changed   uint64 // an edit was said, or the system was written
	Held      uint64 // something waits for a person
	Unchanged uint64
	Left      uint64 // no part of the pact, or left out by since or filter
	Failed    uint64 // not shown by the system
}

// Done is how many records were looked at.
func (c JobCount) Done() uint64 {
	return c.Entered + c.Connected + c.Changed + c.Held + c.Unchanged + c.Left + c.Failed
}

// add counts one record.
func (c *JobCount) add(f found) {
	switch {
	case f.born:
		c.Entered++
	case f.linked && !f.linkedBefore:
		c.Connected++
	case f.changed:
		c.Changed++
	case f.held:
		c.Held++
	case f.linked:
		c.Unchanged++
	default:
		c.Left++
	}
}

// Filter reports whether a local record passes; the text was checked before.
type Filter func(source string, local map[string]value.Value) (bool, *Problem)

// JobOf returns the newest job of a system; ok is false if there was none.
func JobOf(tx store.Tx, system string) (j Job, ok bool, err error) {
	b, ok, err := tx.Get(pack.Key(tableJob, system))
	if err != nil || !ok {
		return Job{}, false, err
	}
	j, err = decodeJob(b)
	return j, err == nil, err
}

func (s *step) keepJob(system string, j *Job) error {
	return s.tx.Set(pack.Key(tableJob, system), encodeJob(j))
}

func encodeJob(j *Job) []byte {
	w := pack.NewWriter(jobVersion)
	w.Uint(uint64(j.Kind))
	w.Uint(uint64(j.State))
	w.Bool(j.DryRun)
	w.Int(j.SinceMillis)
	w.String(j.Filter)
	w.Uint(j.Rate)
	w.String(j.By)
	for _, n := range []int64{j.StartedMillis, j.ActiveMillis, j.RunMillis, j.EndedMillis} {
		w.Int(n)
	}
	w.Bool(j.Whole)
	c := &j.Count
	for _, n := range []uint64{j.Total, c.Entered, c.Connected, c.Changed, c.Held, c.Unchanged, c.Left, c.Failed} {
		w.Uint(n)
	}
	w.String(j.Waits)
	w.Int(j.WaitsMillis)
	w.String(string(j.cursor))
	w.Bool(j.asked)
	return w.Bytes()
}

func decodeJob(b []byte) (Job, error) {
	r := pack.NewReader(b, jobVersion)
	j := Job{
		Kind: JobKind(r.Uint() & 0xff), State: JobState(r.Uint() & 0xff), DryRun: r.Bool(), SinceMillis: r.Int(),
		Filter: r.String(), Rate: r.Uint(), By: r.String(),
		StartedMillis: r.Int(), ActiveMillis: r.Int(), RunMillis: r.Int(), EndedMillis: r.Int(), Whole: r.Bool(),
	}
	c := &j.Count
	for _, n := range []*uint64{&j.Total, &c.Entered, &c.Connected, &c.Changed, &c.Held, &c.Unchanged, &c.Left, &c.Failed} {
		*n = r.Uint()
	}
	j.Waits, j.WaitsMillis = r.String(), r.Int()
	j.cursor, j.asked = []byte(r.String()), r.Bool()
	return j, r.Close("job")
}

// queued is one record of a job that was not looked at.
type queued struct {
	issued bool // a Read is under way, or on the work list
	// own: the Read is the job's own, and nobody else asked for one.
	own bool
	dry bool // of the job that asked: what an own Read shows is not taken in
}

func encodeQueued(q queued) []byte {
	w := pack.NewWriter(jobVersion)
	w.Bool(q.issued)
	w.Bool(q.own)
	w.Bool(q.dry)
	return w.Bytes()
}

func decodeQueued(b []byte) (queued, error) {
	r := pack.NewReader(b, jobVersion)
	q := queued{issued: r.Bool(), own: r.Bool(), dry: r.Bool()}
	return q, r.Close("queued record")
}

func queueKey(system string, key connectors.Key) []byte {
	return pack.Key(tableQueue, system, string(key))
}

func (s *step) queuedAt(system string, key connectors.Key) (q queued, ok bool, err error) {
	b, ok, err := s.tx.Get(queueKey(system, key))
	if err != nil || !ok {
		return q, false, err
	}
	q, err = decodeQueued(b)
	return q, err == nil, err
}

// JobStarted is a person's word to begin a job. The answer is an Answer.
type JobStarted struct {
	NowMillis   int64
	System      string
	Kind        JobKind
	SinceMillis int64
	Filter      string // valid
	Rate        uint64
	DryRun      bool
	By          string
	Key         connectors.Key // the one record to look at; "" means all
}

// Reread says that a pact's feed is to be read again from its beginning. Nothing
// is captured until it was read to its head. It must come between two
// subscriptions: a slice of the one before would move the place in the feed.
type Reread struct {
	NowMillis int64
	Pact      crdt.Pact
}

// JobTold is a person's word to a job: JobPaused, JobRunning (go on), or
// JobCancelled. A job that stands so already is no error. The answer is an Answer.
type JobTold struct {
	NowMillis int64
	System    string
	State     JobState
}

// JobListed is the answer to a List.
type JobListed struct {
	NowMillis int64
	System    string
	Job       int64
	Refs      []connectors.Ref
	Next      connectors.Cursor
	More      bool
	Fault     *Fault // nil: it succeeded
}

// List asks for Connector.Changes from a cursor of a job's own; answered by
// JobListed.
type List struct {
	System string
	Job    int64
	Cursor connectors.Cursor
}

func (e JobStarted) now() int64 { return e.NowMillis }
func (e JobTold) now() int64    { return e.NowMillis }
func (e Reread) now() int64     { return e.NowMillis }
func (e JobListed) now() int64  { return e.NowMillis }
func (List) effect()            {}

// Codes of refusals of a word on jobs.
const (
	refusedSystem = "job.system"
	refusedJob    = "job.running"
	refusedNoJob  = "job.unknown"
	refusedEnded  = "job.ended"
)

func (s *step) jobStarted(e JobStarted) error {
	refuse := func(code, message string) error {
		s.emit(Answer{Refusal: Refusal{Code: code, Message: message}})
		return nil
	}
	if s.pactOf(e.System) == nil {
		return refuse(refusedSystem, "this agent has no such system, or its pact is not in force")
	}
	old, ok, err := JobOf(s.tx, e.System)
	if err != nil {
		return err
	}
	if ok && (old.State == JobRunning || old.State == JobPaused) {
		return refuse(refusedJob, "the system has a job that did not end")
	}
	left, waiting, err := s.queueLeft(e.System)
	if err != nil {
		return err
	}
	if waiting {
		s.emit(Answer{Refusal: Refusal{Code: refusedJob, Message: "what the last job left is being cleared", Later: true}})
		return nil
	}
	s.emit(Answer{})
	j := &Job{
		Kind: e.Kind, State: JobRunning, DryRun: e.DryRun, SinceMillis: e.SinceMillis, Filter: e.Filter, Rate: e.Rate, By: e.By,
		StartedMillis: s.now, RunMillis: s.now, Total: left,
	}
	if e.Key != "" {
		j.Whole = true
		if err := s.enqueue(e.System, j, e.Key); err != nil {
			return err
		}
	}
	return s.keepJob(e.System, j)
}

func (s *step) reread(e Reread) error {
	f, err := inbox.GetFeed(s.tx, e.Pact)
	if err != nil || f.Epoch == 0 || f.Offer.Open {
		return err // it begins at the beginning anyway
	}
	f.Offset, f.Met = 0, false
	return inbox.PutFeed(s.tx, e.Pact, f)
}

// queueLeft counts the reads of an older job that are under way, and reports
// whether any of its records was not asked for yet.
func (s *step) queueLeft(system string) (left uint64, waiting bool, err error) {
	err = s.tx.Scan(pack.Key(tableQueue, system), nil, func(_, b []byte) error {
		q, err := decodeQueued(b)
		if err == nil && !q.issued {
			waiting = true
			return store.ErrStop
		}
		left++
		return err
	})
	return left, waiting, err
}

func (s *step) jobTold(e JobTold) error {
	j, ok, err := JobOf(s.tx, e.System)
	if err != nil {
		return err
	}
	ended := j.State == JobDone || j.State == JobCancelled
	switch {
	case !ok:
		s.emit(Answer{Refusal: Refusal{Code: refusedNoJob, Message: "the system never had a job"}})
		return nil
	case j.State == e.State:
		s.emit(Answer{Already: true})
		return nil
	case ended:
		s.emit(Answer{Refusal: Refusal{Code: refusedEnded, Message: "the job has ended"}})
		return nil
	}
	s.emit(Answer{})
	if j.State == JobRunning {
		j.ActiveMillis += max(s.now-j.RunMillis, 0)
	}
	j.State, j.RunMillis, j.Waits, j.WaitsMillis = e.State, s.now, "", 0
	if e.State == JobCancelled {
		j.EndedMillis = s.now
	}
	return s.keepJob(e.System, &j)
}
