package core

import (
	"maps"
	"slices"

	"github.com/entente-sync/entente/agent/inbox"
	"github.com/entente-sync/entente/agent/outbox"
	"github.com/entente-sync/entente/agent/shadow"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/seal"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
)

// Cursor returns where to subscribe to a pact's feed from.
func Cursor(tx store.Tx, name crdt.Pact) (crdt.Position, error) {
	f, err := inbox.GetFeed(tx, name)
	return f.Cursor(), err
}

// headUnknown stands for the head of a feed while no hub was greeted.
const headUnknown = crdt.Offset(1) << 62

// abreast reports whether everything is known that the hub knew when it last
// spoke. What our own account made is strange only then: a store may be an older
// copy of itself without any sign of it.
func (s *step) abreast(name crdt.Pact) (bool, error) {
	f, err := inbox.GetFeed(s.tx, name)
	return f.Offset >= f.Head, err
}

// opened begins a life of the agent: what was under way is in doubt.
func (s *step) opened(e Opened) error {
	if s.self.Incarnation == 0 {
		s.self.Seed, s.self.Generation = e.Entropy, 1
	}
	if err := s.renew(0); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(s.cfg.Pacts)) {
		f, err := inbox.GetFeed(s.tx, name)
		if err != nil {
			return err
		}
		f.Head = headUnknown
		if err := inbox.PutFeed(s.tx, name, f); err != nil {
			return err
		}
	}
	for _, system := range slices.Sorted(maps.Keys(s.cfg.Systems)) {
		if err := s.jobReopened(system); err != nil {
			return err
		}
		if err := s.reissue(system); err != nil {
			return err
		}
		open, err := s.intents(system)
		if err != nil {
			return err
		}
		for _, in := range open {
			if in.busy() {
				err = s.doubt(system, in)
			}
			if err == nil {
				err = s.look(system, s.itemOf(in))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// itemOf is what to look at to learn what became of a write.
func (s *step) itemOf(in *intent) item {
	if in.Key == "" {
		return recordItem(in.Record)
	}
	return keyItem(in.Key)
}

func (s *step) greeted(e Greeted) error {
	if err := s.calibrate(e.HubMillis); err != nil {
		return err
	}
	f, err := inbox.GetFeed(s.tx, e.Pact)
	if err != nil {
		return err
	}
	var known uint64 // the newest incarnation that the hub has heard of
	for _, a := range e.Authors {
		known = max(known, a.Author.Incarnation)
	}
	forgot, err := s.forgot(e, f.Known)
	if err != nil {
		return err
	}
	renewed, newEpoch := forgot, f.Epoch != e.Epoch
	switch {
	case newEpoch:
		if f.Epoch != 0 {
			s.emit(Notice{Kind: NoticeNewEpoch, Pact: e.Pact})
		}
		renewed = f.Epoch != 0
		f = afresh(&f, &e)
	case forgot:
		// Read the feed from its beginning: nothing may be captured on a memory that
		// is older than what this agent has already said.
		f.Offset, f.Met = 0, false
	}
	if forgot {
		s.emit(Notice{Kind: NoticeOldDisk, Pact: e.Pact})
		s.self.Generation++
		f.Known, f.Doubt = known, e.Head
	}
	if renewed || forgot {
		if err := s.renew(known); err != nil {
			return err
		}
	}
	if newEpoch {
		if err := s.reopen(e); err != nil {
			return err
		}
	}
	f.Head, f.Lineage = e.Head, e.Lineage
	f.Met = f.Met || f.Offset >= f.Head && !f.Offer.Open
	s.send(e.Pact, true)
	return inbox.PutFeed(s.tx, e.Pact, f)
}

// reopen prepares the outbox for a hub of another epoch. What waits is published
// again byte for byte; its seqs go on behind what the end of the offer names. Only
// behind an op that was refused, and is unknown to this hub, everything is said
// again by the new incarnation: nobody could close that gap.
func (s *step) reopen(e Greeted) error {
	all, err := outbox.List(s.tx, e.Pact)
	if err != nil {
		return err
	}
	seen := map[crdt.Author]crdt.Seq{}
	for _, a := range e.Authors {
		seen[a.Author] = a.Seen
	}
	hole := len(all)
	for i := 1; i < len(all); i++ {
		before := all[i].After
		if before != all[i-1].Op.ID() && seen[before.Author] < before.Seq {
			hole = i
			break
		}
	}
	renamed := map[crdt.OpID]crdt.OpID{}
	for _, entry := range all[hole:] {
		op, base := entry.Op, entry.Base()
		if to, ok := renamed[base.Pred]; ok {
			base.Pred = to
		}
		if err := outbox.Drop(s.tx, entry); err != nil {
			return err
		}
		again, err := s.resay(op, base, op.Stamp)
		if err != nil {
			return err
		}
		renamed[op.ID()] = again.ID
		if err := s.rename(op.Key, op.ID(), again); err != nil {
			return err
		}
	}
	return outbox.Reopen(s.tx, e.Pact)
}

// forgot reports whether the hub knows ops of this agent that its outbox never
// numbered, by incarnations that were not dealt with yet.
func (s *step) forgot(e Greeted, dealtWith uint64) (bool, error) {
	st, err := outbox.GetState(s.tx, e.Pact)
	if err != nil {
		return false, err
	}
	for _, a := range e.Authors {
		own := a.Author.Site == s.cfg.Site && a.Author.Agent == s.cfg.Agent
		known := max(a.Seen, a.Heard)
		if !own || known == 0 || a.Author.Incarnation <= dealtWith {
			continue
		}
		newer := a.Author.Incarnation > st.Author.Incarnation
		if newer || a.Author.Incarnation == st.Author.Incarnation && known > st.Seq {
			return true, nil
		}
	}
	return false, nil
}

func (s *step) fed(e Fed) error {
	f, err := inbox.GetFeed(s.tx, e.Pact)
	if err != nil || f.Epoch != e.Cursor.Epoch || e.Cursor.Offset < f.Offset || f.Offer.Open {
		return err // a slice of another life, one that is known, or one too early
	}
	for i := range e.Entries {
		r := &e.Entries[i]
		if r.Op.Key.Pact != e.Pact {
			continue // no hub of ours feeds this
		}
		if err := s.receive(r); err != nil {
			return err
		}
	}
	f.Offset, f.Head = e.Cursor.Offset, max(e.Head, e.Cursor.Offset)
	f.Met = f.Met || f.Offset >= f.Head
	if f.Offset >= f.Head {
		f.Whole = f.Offset
	}
	if e.Lineage != nil {
		f.Lineage = e.Lineage
	}
	if err := inbox.PutFeed(s.tx, e.Pact, f); err != nil {
		return err
	}
	return s.passed(&f, e.Pact)
}

// receive takes one register in and marks what it may change.
func (s *step) receive(r *crdt.Register) error {
	changed, err := inbox.Put(s.tx, r)
	if err != nil {
		return err
	}
	key := r.Op.Key
	p := s.cfg.Pacts[key.Pact]
	if p == nil || key.Field.IsLost() {
		return nil
	}
	if key.Type != p.Record {
		return s.receiveChild(p, r)
	}
	if site, system, ok := key.Field.LinkOf(); ok {
		if _, bound := s.cfg.Systems[system]; !bound || site != s.cfg.Site {
			return nil
		}
		return s.relink(system, r)
	}
	for _, system := range s.systemsOf(key.Pact) {
		if err := s.dirty(system, r, changed); err != nil {
			return err
		}
	}
	return nil
}

// receiveChild makes the systems look at the parent of a child that became
// whole and is not shown there.
func (s *step) receiveChild(p *pact.Pact, r *crdt.Register) error {
	content, err := inbox.Register(s.tx, r.Op.Key.Sibling(pact.FieldEntry))
	if err != nil {
		return err
	}
	parent, ok := parentOf(p, &content)
	if !ok {
		return nil
	}
	key := r.Op.Key
	if err := inbox.AddChild(s.tx, key.Pact, parent, key.Record); err != nil {
		return err
	}
	life, err := inbox.Register(s.tx, key.Sibling(crdt.FieldLife))
	if err != nil || life.IsZero() {
		return err
	}
	for _, system := range s.systemsOf(key.Pact) {
		sh, err := s.shadow(system, parent)
		if err != nil {
			return err
		}
		if sh == nil {
			continue // it waits for its parent
		}
		if _, shown, err := shadow.Child(s.tx, system, key.Record); err != nil {
			return err
		} else if shown {
			continue
		}
		if err := s.look(system, keyItem(sh.Key)); err != nil {
			return err
		}
	}
	return nil
}

// parentOf reads the parent of a child's entry; ok is false for one that was
// never written or that the pact does not allow.
func parentOf(p *pact.Pact, r *crdt.Register) (crdt.RecordID, bool) {
	if r.IsZero() || p.CheckEntry(&r.Op) != "" {
		return crdt.RecordID{}, false
	}
	v, err := crdt.OpenPlain(r.Op.Value)
	if err != nil {
		return crdt.RecordID{}, false
	}
	b, _ := v.Get("parent")
	if len(b.AsBytes()) != len(crdt.RecordID{}) {
		return crdt.RecordID{}, false
	}
	return crdt.RecordID(b.AsBytes()), true
}

// dirty puts a record on a system's list, unless r is what it shows already.
// A changed register ends the hold of a create that the system refused.
func (s *step) dirty(system string, r *crdt.Register, changed bool) error {
	key := r.Op.Key
	sh, err := s.shadow(system, key.Record)
	if err != nil {
		return err
	}
	if sh == nil {
		life, err := s.desired(key.Sibling(crdt.FieldLife))
		if err != nil || life.IsZero() {
			return err // it is not whole yet
		}
		if h, ok, err := s.holdOf(system, key.Record, ""); err != nil {
			return err
		} else if ok && changed && h.Code == codeCreate {
			if err := s.free(system, key.Record, ""); err != nil {
				return err
			}
		}
		return s.look(system, recordItem(key.Record))
	}
	f, shown := sh.Fields[key.Field]
	if shown && f.Version.ID == r.Op.ID() {
		if f.Version.Birth != r.Birth {
			f.Version.Birth = r.Birth
			sh.Fields[key.Field] = f
			s.touch(system, sh)
		}
		return nil
	}
	if key.Field == crdt.FieldLife {
		if held, err := s.lifeMatters(system, r); err != nil || !held {
			return err
		}
	}
	return s.look(system, keyItem(sh.Key))
}

// lifeMatters reports whether a lifecycle register asks something of a linked
// record: a delete, or a revival after one.
func (s *step) lifeMatters(system string, r *crdt.Register) (bool, error) {
	if l, err := crdt.DecodeLife(r.Op.Value); err != nil || l.Deleted {
		return true, nil
	}
	_, held, err := s.holdOf(system, r.Op.Key.Record, "")
	return held, err
}

// relink rebuilds a link that this store does not have from its own register.
func (s *step) relink(system string, r *crdt.Register) error {
	sh, err := s.shadow(system, r.Op.Key.Record)
	if err != nil || sh != nil {
		return err
	}
	v, err := seal.Open(s.linkKey(), &r.Op)
	if err != nil || v.Kind() != value.KindText {
		return nil // sealed by another store of this site: see bring
	}
	key := connectors.Key(v.AsText())
	if _, taken, err := s.linked(system, key); err != nil || taken {
		return err
	}
	if _, err := s.link(system, r.Op.Key.Record, key, 0); err != nil {
		return err
	}
	return s.look(system, keyItem(key))
}

// desired returns what a register shall be: the join of the feed's version and
// this agent's own ops that the feed does not cover yet. Zero: never written.
func (s *step) desired(key crdt.Key) (crdt.Register, error) {
	r, err := inbox.Register(s.tx, key)
	if err != nil {
		return r, err
	}
	pending, err := outbox.Pending(s.tx, key)
	for i := range pending {
		own := crdt.NewRegister(pending[i].Op, crdt.Position{})
		r = *crdt.Join(&r, &own)
	}
	return r, err
}
