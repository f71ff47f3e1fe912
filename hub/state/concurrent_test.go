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
			for _, e := range s.Entries {
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
