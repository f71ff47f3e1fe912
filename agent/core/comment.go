package core

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/entente-sync/entente/agent/inbox"
	"github.com/entente-sync/entente/agent/shadow"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
)

// entry is a comment as the pact has it.
type entry struct {
	child    crdt.RecordID
	author   string
	site     crdt.Site
	atMillis int64
	body     string
	internal bool
	life     crdt.OpID
}

func (v *view) childKey(field crdt.Field, child crdt.RecordID, register crdt.Field) crdt.Key {
	return crdt.Key{Pact: v.pact.Name, Type: v.pact.CommentsType(field), Record: child, Field: register}
}

// saidBytesMax bounds the comments that one step says: a record may come with
// thousands, and a store's transaction is small.
const saidBytesMax = 256 << 10

// opBytes is what the rows of one said comment take besides its text.
const opBytes = 1 << 10

// captureComments turns local comments into child records. in is the open write
// of the record, or nil.
func (s *step) captureComments(v *view, in *intent) error {
	rule, ok := v.sys.Binding.Comments()
	if !ok {
		return nil
	}
	var known []entry // read when first needed
	for i := range v.rec.Comments {
		if s.saidBytes > saidBytesMax {
			return s.look(v.system, keyItem(v.rec.Key)) // the rest in a transaction of its own
		}
		if err := s.captureComment(v, rule, in, &v.rec.Comments[i], &known); err != nil {
			return err
		}
	}
	return nil
}

func (s *step) captureComment(v *view, rule CommentRule, in *intent, c *connectors.Comment, known *[]entry) error {
	_, linked, err := shadow.Comment(s.tx, v.system, v.sh.ID, c.Key)
	if err != nil || linked {
		return err
	}
	if c.Author.Self {
		if in != nil && in.Kind == connectors.WriteComment && appended(v.rec, in, c) {
			return nil // it may be that write's, which its answer tells
		}
		if *known == nil {
			if *known, err = s.entries(v, rule); err != nil {
				return err
			}
		}
		if matched, err := s.matchOwn(v, rule, *known, c); err != nil || matched {
			return err
		}
	}
	sends, problem := rule.Sends(*c)
	if !sends && problem == nil {
		return s.free(v.system, s.commentID(v.system, v.sh.Key, c.Key), rule.Field())
	}
	if c.Author.Self {
		if abreast, err := s.abreast(v.pact.Name); err != nil {
			return err
		} else if !abreast {
			return s.lookAt(v.system, keyItem(v.rec.Key), s.now+s.cfg.backoffMin().Milliseconds())
		}
	}
	return s.comment(v, rule, c, problem)
}

// matchOwn ties a comment by our own account to a known one of equal content
// that has no key here: our write, whose memory was lost.
func (s *step) matchOwn(v *view, rule CommentRule, known []entry, c *connectors.Comment) (bool, error) {
	for _, e := range known {
		key, linked, err := shadow.Child(s.tx, v.system, e.child)
		if err != nil {
			return false, err
		}
		if linked && key != "" || !sameBody(c.Body, rule.Body(e.author, e.site, e.body)) {
			continue
		}
		return true, shadow.LinkComment(s.tx, v.system, v.sh.ID, e.child, c.Key)
	}
	return false, nil
}

// comment says one local comment, or holds it if the binding has a problem with it.
func (s *step) comment(v *view, rule CommentRule, c *connectors.Comment, problem *Problem) error {
	field, ok := v.pact.Field(rule.Field())
	if !ok || !field.MayWrite(s.cfg.Site) {
		return nil
	}
	s.saidBytes += len(c.Body) + opBytes
	child := s.commentID(v.system, v.sh.Key, c.Key)
	at := v.childKey(rule.Field(), child, pact.FieldEntry)
	had, err := s.desired(at)
	if err != nil {
		return err
	}
	when := moment{at: c.At, class: crdt.EvidenceHistory}
	live := draft{key: at.Sibling(crdt.FieldLife), value: crdt.Life{}.Value(), system: v.system, when: when, ahead: v.ahead}
	if !had.IsZero() { // said before by a newer copy of this store, perhaps half
		if life, err := s.desired(live.key); err != nil {
			return err
		} else if life.IsZero() {
			if _, _, err := s.say(live); err != nil {
				return err
			}
		}
		return shadow.LinkComment(s.tx, v.system, v.sh.ID, child, c.Key)
	}
	if problem != nil {
		return s.holdComment(v, rule, child, problem.Code, problem.Message)
	}
	author := map[string]value.Value{"name": value.Text(c.Author.Name)}
	if c.Author.Email != "" && slices.Contains(field.Share, "email") {
		author["email"] = value.Text(c.Author.Email)
	}
	val := value.Map(map[string]value.Value{
		"parent": value.Bytes(v.sh.ID[:]), "author": value.Map(author), "at": value.Time(c.At.Add(-v.ahead)),
		"body": value.Text(c.Body), "internal": value.Bool(c.Internal),
	})
	if err := pact.CheckValue(field, val); err != nil {
		return s.holdComment(v, rule, child, pact.ReasonValue, err.Error())
	}
	if _, ok, err := s.say(draft{key: at, value: val, system: v.system, when: when, ahead: v.ahead}); err != nil || !ok {
		return err
	}
	if _, _, err := s.say(live); err != nil {
		return err
	}
	if err := inbox.AddChild(s.tx, v.pact.Name, v.sh.ID, child); err != nil {
		return err
	}
	if err := s.free(v.system, child, rule.Field()); err != nil {
		return err
	}
	s.emit(Notice{Kind: NoticeEdit, System: v.system, Pact: v.pact.Name, Record: child, Field: rule.Field()})
	if err := shadow.LinkComment(s.tx, v.system, v.sh.ID, child, c.Key); err != nil {
		return err
	}
	return s.spread(v.system, v.pact.Name, v.sh.ID)
}

// holdComment parks one local comment; the others flow.
func (s *step) holdComment(v *view, rule CommentRule, child crdt.RecordID, code, message string) error {
	return s.hold(Hold{
		System: v.system, Record: child, Field: rule.Field(), Key: v.sh.Key,
		Code: code, Message: message, Outgoing: true,
	})
}

// entries returns the live comments of a record that the pact knows, in the
// order in which they were made.
func (s *step) entries(v *view, rule CommentRule) ([]entry, error) {
	children, err := inbox.Children(s.tx, v.pact.Name, v.sh.ID)
	if err != nil {
		return nil, err
	}
	field, ok := v.pact.Field(rule.Field())
	if !ok {
		return nil, nil
	}
	out := make([]entry, 0, len(children))
	for _, child := range children {
		at := v.childKey(rule.Field(), child, pact.FieldEntry)
		r, err := s.desired(at)
		if err != nil {
			return nil, err
		}
		life, err := s.desired(at.Sibling(crdt.FieldLife))
		if err != nil {
			return nil, err
		}
		val, readable := readable(v.pact, &r)
		l, lifeErr := crdt.DecodeLife(life.Op.Value)
		if !readable || lifeErr != nil || l.Deleted || pact.CheckValue(field, val) != nil {
			continue
		}
		parent, _ := val.Get("parent")
		if !bytes.Equal(parent.AsBytes(), v.sh.ID[:]) {
			continue
		}
		out = append(out, entryOf(child, &r, val, life.Op.ID()))
	}
	slices.SortFunc(out, func(a, b entry) int {
		if c := cmp.Compare(a.atMillis, b.atMillis); c != 0 {
			return c
		}
		return bytes.Compare(a.child[:], b.child[:])
	})
	return out, nil
}

func entryOf(child crdt.RecordID, r *crdt.Register, val value.Value, life crdt.OpID) entry {
	author, _ := val.Get("author")
	name, _ := author.Get("name")
	at, _ := val.Get("at")
	body, _ := val.Get("body")
	internal, _ := val.Get("internal")
	return entry{
		child: child, author: name.AsText(), site: r.Op.Author.Site, atMillis: at.AsTime().UnixMilli(),
		body: body.AsText(), internal: internal.AsBool(), life: life,
	}
}

// reconcileComments appends the oldest comment that is not shown yet. One append
// is under way per record.
func (s *step) reconcileComments(v *view) error {
	rule, ok := v.sys.Binding.Comments()
	if !ok || !rule.Receives() || !v.sys.Capabilities.Comments {
		return nil
	}
	known, err := s.entries(v, rule)
	if err != nil {
		return err
	}
	for _, e := range known {
		if _, linked, err := shadow.Child(s.tx, v.system, e.child); err != nil {
			return err
		} else if linked {
			continue
		}
		if _, held, err := s.holdOf(v.system, e.child, ""); err != nil {
			return err
		} else if held {
			continue
		}
		if e.internal && !v.sys.Capabilities.InternalComments {
			if err := s.hold(Hold{
				System: v.system, Record: e.child, Key: v.sh.Key, Code: "comment.internal", Version: e.life,
				Message: "the comment is internal, and this system cannot keep one so",
			}); err != nil {
				return err
			}
			continue
		}
		in := &intent{
			Kind: connectors.WriteComment, Record: v.sh.ID, Child: e.child, Key: v.rec.Key,
			Revision: v.rec.Revision, Mark: lastComment(v.rec), Body: rule.Body(e.author, e.site, e.body),
		}
		return s.open(v.system, in, connectors.Write{
			Kind: connectors.WriteComment, Key: v.rec.Key, Correlation: e.child.String(),
			Comment: connectors.CommentDraft{Body: in.Body, Internal: e.internal},
		})
	}
	return nil
}

func lastComment(rec *connectors.Record) string {
	if len(rec.Comments) == 0 {
		return ""
	}
	return rec.Comments[len(rec.Comments)-1].Key
}

// appended reports whether c may be what a comment write of ours left: by our
// account, newer than what was shown before it, and of equal content.
func appended(rec *connectors.Record, in *intent, c *connectors.Comment) bool {
	if c.Correlation != "" && c.Correlation == in.Child.String() {
		return true
	}
	return c.Author.Self && newer(rec, in.Mark, c.Key) && sameBody(c.Body, in.Body)
}

// newer reports whether comment key stands behind comment mark; if mark is gone,
// every comment does.
func newer(rec *connectors.Record, mark, key string) bool {
	at := func(k string) int {
		return slices.IndexFunc(rec.Comments, func(c connectors.Comment) bool { return c.Key == k })
	}
	return at(key) > at(mark)
}

func sameBody(a, b string) bool { return trimmed(a) == trimmed(b) }

// settleComment looks for the comment that a write was to append. It returns the
// intent while that is open.
func (s *step) settleComment(v *view, in *intent) (*intent, error) {
	key := in.Receipt.Comment
	var strange []string // by our account, behind the mark, of other content
	for i := range v.rec.Comments {
		c := &v.rec.Comments[i]
		if key != "" {
			break
		}
		_, linked, err := shadow.Comment(s.tx, v.system, v.sh.ID, c.Key)
		switch {
		case err != nil:
			return nil, err
		case linked:
		case appended(v.rec, in, c):
			key = c.Key
		case c.Author.Self && newer(v.rec, in.Mark, c.Key):
			strange = append(strange, c.Key)
		}
	}
	if key == "" && in.State == stateDone && len(strange) == 1 {
		key = strange[0] // the system rewrote it beyond recognition
	}
	if err := s.steppedBack(v.system, in); err != nil {
		return nil, err
	}
	wait := s.doubtUntil(v.system, in) - s.now
	if s.began > 0 && s.began <= s.now {
		wait = s.doubtUntil(v.system, in) - s.began // what was read may be as old as that
	}
	switch {
	case key == "" && wait > 0:
		at := s.now + min(wait, max(s.cfg.backoffMin().Milliseconds(), wait/4))
		return in, s.lookAt(v.system, keyItem(v.rec.Key), at)
	case key == "" && in.State == stateDoubt:
		return nil, s.settled(v.system, in) // proven absent: reconcile appends again
	}
	// A write that happened, though the system never showed it, is not repeated.
	if err := shadow.LinkComment(s.tx, v.system, v.sh.ID, in.Child, key); err != nil {
		return nil, err
	}
	s.emit(Notice{Kind: NoticeComment, System: v.system, Pact: v.pact.Name, Record: in.Child})
	return nil, s.settled(v.system, in)
}
