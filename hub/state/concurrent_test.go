package state_test

import (
	"reflect"
	"sync"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/state"
)

// Readers follow the feed, and a checkpoint is folded, while Apply goes on: what
// they hold is immutable, and the reader ends with the current versions.
func TestReadersWhileApplying(t *testing.T) {
	defer state.SetPageFull(1000)()
	l := newDiskLog(t)
	l.disk.shared = true
	var wg sync.WaitGroup
	stop := make(chan struct{})
	seen := map[crdt.Key]*state.Stored{}
	wg.Go(func() {
		var cursor crdt.Position
		for last := false; ; {
			s, err := l.m.Feed(tickets, cursor, 7, 1<<20)
			if err != nil {
				t.Error(err)
				return
			}
			entries, err := s.Decode()
			if err != nil {
				t.Error(err)
				return
			}
			for _, e := range entries {
				if e.Offset <= cursor.Offset {
					t.Errorf("offset %d behind cursor %d", e.Offset, cursor.Offset)
				}
				seen[e.Register.Op.Key] = e
			}
			if cursor = s.Cursor; cursor.Offset < s.Head {
				continue
			}
			if last {
				return
			}
			select {
			case <-stop:
				last = true // once more: the head may have moved since
			default:
			}
		}
	})
	images := make(chan *state.Changes, 8)
	wg.Go(func() {
		for img := range images {
			l.disk.write(t, img)
			l.m.Persisted(img)
			l.m.Digests()
			l.m.Authors(tickets, "acme", "main")
		}
	})
	for i := range 2000 {
		site := []crdt.Site{"acme", "globex"}[i%2]
		l.publish(epochOne, crdt.OpID{}, edit(author(site, 1), crdt.Seq(i/2+1), key(byte(i%7+1), "title"), int64(i), "x"))
		if i%100 == 99 {
			images <- l.m.TakeDirty()
		}
	}
	close(images)
	close(stop)
	wg.Wait()
	for _, e := range feedAll(t, l.m, crdt.Position{}, 1000) {
		if !reflect.DeepEqual(seen[e.Register.Op.Key], e) {
			t.Fatalf("the reader missed %s", e.Register.Op.Key)
		}
	}
	if !reflect.DeepEqual(l.disk.load(t).Image(), l.m.Image()) {
		t.Fatal("the folded checkpoints are not the state")
	}
}

// A page loses its dead versions in a checkpoint; what dies after that was taken,
// and before it is durable, stays dead.
func TestDiesWhilePageIsRewritten(t *testing.T) {
	defer state.SetPageFull(1000)()
	l, twin := newDiskLog(t), newLog(t)
	seq := crdt.Seq(0)
	write := func(record byte) {
		seq++
		op := edit(author("acme", 1), seq, key(record, "title"), int64(seq), "a title of some length")
		if cur := twin.get(op.Key); cur != nil {
			op.Base.Pred = cur.Register.Op.ID()
		}
		for _, log := range []*log{l, twin} {
			if r := log.publish(epochOne, crdt.OpID{}, op)[0]; r.Outcome != state.OutcomeApplied {
				t.Fatalf("%+v", r)
			}
		}
	}
	for record := range byte(40) {
		write(record + 1)
	}
	l.disk.checkpoint(t, l.m)
	for _, record := range []byte{1, 2, 3, 4, 5} { // of the first page
		write(record)
	}
	for record := range byte(40) { // ends the page of those
		write(record + 41)
	}
	c := l.m.TakeDirty()
	if len(c.Thinned) == 0 {
		t.Fatal("no page is thin: the test tests nothing")
	}
	write(6)
	l.disk.write(t, c)
	l.m.Persisted(c)
	if !reflect.DeepEqual(l.m.Image(), twin.m.Image()) {
		t.Fatal("the state differs from that of a machine in memory")
	}
	for record := range byte(80) {
		write(record + 1)
	}
	l.disk.checkpoint(t, l.m)
	if !reflect.DeepEqual(l.m.Image(), twin.m.Image()) || !reflect.DeepEqual(l.disk.load(t).Image(), twin.m.Image()) {
		t.Fatal("the state differs from that of a machine in memory")
	}
}
