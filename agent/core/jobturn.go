package core

import (
	"errors"
	"time"

	"github.com/entente-sync/entente/agent/shadow"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/agent/store/pack"
	"github.com/entente-sync/entente/connectors"
)

// jobPage bounds what one step puts on a job's list, or takes off it.
const jobPage = 256

// turn lets the job of a system go on. It comes after all live work that is due:
// an edit never waits behind a job for longer than the reads under way take.
func (s *step) turn(system string) error {
	j, ok, err := JobOf(s.tx, system)
	if err != nil || !ok {
		return err
	}
	switch j.State {
	case JobRunning:
	case JobCancelled:
		return s.clear(system)
	default:
		return nil
	}
	had := encodeJob(&j)
	if err := errors.Join(s.gather(system, &j), s.readOn(system, &j)); err != nil {
		return err
	}
	if string(encodeJob(&j)) == string(had) {
		return nil
	}
	return s.keepJob(system, &j)
}

// clear takes off the list what a cancelled job did not ask for.
func (s *step) clear(system string) error {
	var keys [][]byte
	err := s.tx.Scan(pack.Key(tableQueue, system), nil, func(key, b []byte) error {
		q, err := decodeQueued(b)
		if err != nil || q.issued {
			return err
		}
		if keys = append(keys, key); len(keys) == jobPage {
			s.emit(Wake{AtMillis: s.now})
			return store.ErrStop
		}
		return nil
	})
	for _, key := range keys {
		err = errors.Join(err, s.tx.Delete(key))
	}
	return err
}

// gather puts more records on a job's list.
func (s *step) gather(system string, j *Job) error {
	if j.Whole || j.asked || j.WaitsMillis > s.now {
		return nil
	}
	if j.Kind == JobBackfill {
		j.asked = true
		s.emit(List{System: system, Job: j.StartedMillis, Cursor: connectors.Cursor(j.cursor)})
		return nil
	}
	var after *connectors.Key
	if len(j.cursor) > 0 {
		key := connectors.Key(j.cursor)
		after = &key
	}
	var keys []connectors.Key
	err := shadow.Keys(s.tx, system, after, func(key connectors.Key) error {
		if keys = append(keys, key); len(keys) == jobPage {
			return store.ErrStop
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := s.enqueue(system, j, key); err != nil {
			return err
		}
	}
	if len(keys) < jobPage {
		j.Whole = true
		return nil
	}
	j.cursor = []byte(keys[len(keys)-1])
	s.emit(Wake{AtMillis: s.now})
	return nil
}

func (s *step) enqueue(system string, j *Job, key connectors.Key) error {
	if _, there, err := s.queuedAt(system, key); err != nil || there {
		return err
	}
	j.Total++
	return s.tx.Set(queueKey(system, key), encodeQueued(queued{}))
}

// jobListed takes a page of a job's own listing in.
func (s *step) jobListed(e JobListed) error {
	j, ok, err := JobOf(s.tx, e.System)
	if err != nil || !ok || j.StartedMillis != e.Job || !j.asked {
		return err
	}
	j.asked = false
	if j.State == JobRunning || j.State == JobPaused {
		if e.Fault != nil {
			s.rest(&j, e.Fault)
		} else {
			for _, ref := range e.Refs {
				if err := s.enqueue(e.System, &j, ref.Key); err != nil {
					return err
				}
			}
			j.cursor, j.Whole = e.Next, !e.More
		}
	}
	return s.keepJob(e.System, &j)
}

// rest makes a job wait for its system.
func (s *step) rest(j *Job, f *Fault) {
	j.Waits = "system." + string(f.Class)
	j.WaitsMillis = s.now + max(s.cfg.backoffMin(), f.RetryAfter).Milliseconds()
}

// readOn asks for records of the list, as far as limits allow, and ends the job
// when nothing is left.
func (s *step) readOn(system string, j *Job) error {
	for {
		if j.WaitsMillis > s.now {
			s.emit(Wake{AtMillis: j.WaitsMillis})
			return nil
		}
		j.Waits, j.WaitsMillis = "", 0
		key, waiting, under, err := s.nextQueued(system)
		if err != nil {
			return err
		}
		if !waiting {
			if under == 0 && j.Whole {
				j.State, j.EndedMillis = JobDone, s.now
				j.ActiveMillis += max(s.now-j.RunMillis, 0)
			}
			return nil
		}
		st, err := systemOf(s.tx, system)
		if err != nil {
			return err
		}
		if under >= max(s.cfg.inFlightMax()/2, 1) || st.InFlight >= s.cfg.inFlightMax() {
			return nil // an answer will come, and with it the next turn
		}
		if err := s.readQueued(system, j, key); err != nil {
			return err
		}
		if j.Rate > 0 {
			j.Waits, j.WaitsMillis = "rate", s.now+max(int64(time.Second/time.Millisecond)/int64(min(j.Rate, 1000)), 1)
		}
	}
}

// nextQueued returns the first record that was not asked for, and how many are
// under way.
func (s *step) nextQueued(system string) (key connectors.Key, waiting bool, under int, err error) {
	err = s.tx.Scan(pack.Key(tableQueue, system), nil, func(b, row []byte) error {
		q, err := decodeQueued(row)
		if err != nil {
			return err
		}
		if q.issued {
			under++
			return nil
		}
		parts, err := pack.Parts(b, 2)
		if err != nil {
			return err
		}
		key, waiting = connectors.Key(parts[1]), true
		return store.ErrStop
	})
	return key, waiting, under, err
}

// readQueued asks for one record, or waits with whoever asked for it already.
func (s *step) readQueued(system string, j *Job, key connectors.Key) error {
	it := keyItem(key)
	_, wanted, err := s.work(system, it)
	if err != nil {
		return err
	}
	busy, err := s.writing(system, key)
	if err != nil {
		return err
	}
	q := queued{issued: true, dry: j.DryRun}
	if wanted || busy {
		err = s.look(system, it)
	} else {
		q.own = true
		s.emit(Read{System: system, Key: key})
		err = errors.Join(s.flight(system, 1), s.putWork(system, it, nil, &work{DueMillis: s.now, Issued: true}))
	}
	return errors.Join(err, s.tx.Set(queueKey(system, key), encodeQueued(q)))
}

// jobObserved counts a record that was read, if a job waits for it. taken reports
// that there is nothing more to do with it.
func (s *step) jobObserved(e *Observed) (taken bool, err error) {
	q, ok, err := s.queuedAt(e.System, e.Record.Key)
	if err != nil || !ok || !q.issued {
		return false, err
	}
	j, _, err := JobOf(s.tx, e.System)
	if err != nil {
		return false, err
	}
	if err := s.tx.Delete(queueKey(e.System, e.Record.Key)); err != nil {
		return false, err
	}
	var f found
	out, err := s.leftOut(e, &j)
	switch {
	case err != nil:
		return false, err
	case out && q.own:
		taken = true
	case q.dry:
		f, err = s.preview(e.System, &e.Record, e.ClockAhead)
		taken = q.own
	default:
		f, err = s.watched(e.System, &e.Record, e.ClockAhead)
		taken = true
	}
	if err != nil {
		return taken, err
	}
	if j.State == JobRunning || j.State == JobPaused {
		j.Count.add(f)
	}
	return taken, s.keepJob(e.System, &j)
}

// leftOut reports whether since or filter keep a record out that is not linked.
func (s *step) leftOut(e *Observed, j *Job) (bool, error) {
	_, linked, err := s.linked(e.System, e.Record.Key)
	if err != nil || linked {
		return false, err
	}
	if j.SinceMillis > 0 && millis(e.Record.Updated) < j.SinceMillis {
		return true, nil
	}
	filter := s.cfg.Systems[e.System].Filter
	if j.Filter == "" || filter == nil {
		return false, nil
	}
	passes, problem := filter(j.Filter, e.Record.Fields)
	return problem != nil || !passes, nil
}

// jobMissing takes in that a record could not be read, if a job waits for it. own
// reports that nobody else asked.
func (s *step) jobMissing(e *Missing) (own bool, err error) {
	q, ok, err := s.queuedAt(e.System, e.Key)
	if err != nil || !ok || !q.issued {
		return false, err
	}
	j, _, err := JobOf(s.tx, e.System)
	if err != nil {
		return false, err
	}
	ended := j.State == JobDone || j.State == JobCancelled
	if e.Fault.Class == connectors.ClassNotFound || e.Fault.Class == connectors.ClassDenied || ended {
		if !ended {
			j.Count.Failed++
		}
		err = s.tx.Delete(queueKey(e.System, e.Key))
		own = q.own && (q.dry || ended)
	} else {
		s.rest(&j, &e.Fault)
		err = s.tx.Set(queueKey(e.System, e.Key), encodeQueued(queued{}))
		own = q.own
	}
	return own, errors.Join(err, s.keepJob(e.System, &j))
}

// disown notes that the Read of a record comes back for other reasons: what it
// shows next is taken in.
func (s *step) disown(system string, key connectors.Key) error {
	q, ok, err := s.queuedAt(system, key)
	if err != nil || !ok || !q.own {
		return err
	}
	q.own = false
	return s.tx.Set(queueKey(system, key), encodeQueued(q))
}

// jobReopened puts what a job had under way back on its list. A read that nobody
// else asked for is forgotten: a dry run must not take it in.
func (s *step) jobReopened(system string) error {
	j, ok, err := JobOf(s.tx, system)
	if err != nil || !ok {
		return err
	}
	own := map[connectors.Key]bool{}
	var issued []connectors.Key
	err = s.tx.Scan(pack.Key(tableQueue, system), nil, func(b, row []byte) error {
		q, err := decodeQueued(row)
		if err != nil || !q.issued {
			return err
		}
		parts, err := pack.Parts(b, 2)
		if err != nil {
			return err
		}
		key := connectors.Key(parts[1])
		issued, own[key] = append(issued, key), q.own
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range issued {
		if own[key] {
			k, ok, err := s.work(system, keyItem(key))
			if err != nil {
				return err
			}
			if ok && k.Issued && !k.Again && !k.Void {
				err = s.putWork(system, keyItem(key), &k, nil)
			}
			if err != nil {
				return err
			}
		}
		if err := s.tx.Set(queueKey(system, key), encodeQueued(queued{})); err != nil {
			return err
		}
	}
	if j.asked {
		j.asked = false
		return s.keepJob(system, &j)
	}
	return nil
}
