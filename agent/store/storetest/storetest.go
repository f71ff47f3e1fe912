// Package storetest is what every agent store must pass.
package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/agent/store"
)

// Run checks the store that open makes; each call of open gives an empty one.
// The store's map is compared with a plain Go map after every transaction.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	t.Run("transactions equal a map", func(t *testing.T) { checkModel(t, open(t)) })
	t.Run("a failed update writes nothing", func(t *testing.T) { checkRollback(t, open(t)) })
	t.Run("scan sees own writes and stops", func(t *testing.T) { checkScan(t, open(t)) })
	t.Run("values are copies", func(t *testing.T) { checkCopies(t, open(t)) })
	t.Run("closed", func(t *testing.T) { checkClosed(t, open(t)) })
}

var errWanted = errors.New("wanted")

func checkModel(t *testing.T, s store.Store) {
	defer s.Close()
	model := map[string]string{}
	rapid.Check(t, func(t *rapid.T) {
		next := map[string]string{}
		for k, v := range model {
			next[k] = v
		}
		fails := rapid.Bool().Draw(t, "fails")
		err := s.Update(func(tx store.Tx) error {
			for i := range rapid.IntRange(0, 8).Draw(t, "writes") {
				k := rapid.StringMatching(`[a-c]{1,3}`).Draw(t, "key")
				if rapid.Bool().Draw(t, "delete") {
					delete(next, k)
					if err := tx.Delete([]byte(k)); err != nil {
						return err
					}
					continue
				}
				next[k] = fmt.Sprint(i)
				if err := tx.Set([]byte(k), []byte(next[k])); err != nil {
					return err
				}
			}
			if got := dump(t, tx, "", ""); !slices.Equal(got, listed(next, "", "")) {
				t.Fatalf("inside: %v, want %v", got, listed(next, "", ""))
			}
			if fails {
				return errWanted
			}
			return nil
		})
		if fails != errors.Is(err, errWanted) {
			t.Fatalf("update: %v", err)
		}
		if !fails {
			model = next
		}
		prefix := rapid.StringMatching(`[a-c]{0,2}`).Draw(t, "prefix")
		from := rapid.StringMatching(`[a-c]{0,3}`).Draw(t, "from")
		if err := s.View(func(tx store.Tx) error {
			if got := dump(t, tx, prefix, from); !slices.Equal(got, listed(model, prefix, from)) {
				t.Fatalf("scan %q from %q: %v, want %v", prefix, from, got, listed(model, prefix, from))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}

func dump(t *rapid.T, tx store.Tx, prefix, from string) []string {
	var out []string
	err := tx.Scan([]byte(prefix), []byte(from), func(k, v []byte) error {
		got, ok, err := tx.Get(k)
		if err != nil || !ok || !bytes.Equal(got, v) {
			t.Fatalf("get %q: %q %v %v, scan says %q", k, got, ok, err, v)
		}
		out = append(out, string(k)+"="+string(v))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func listed(m map[string]string, prefix, from string) []string {
	var out []string
	for k, v := range m {
		if len(k) >= len(prefix) && k[:len(prefix)] == prefix && k >= from {
			out = append(out, k+"="+v)
		}
	}
	slices.SortFunc(out, func(a, b string) int {
		ka, _, _ := bytes.Cut([]byte(a), []byte("="))
		kb, _, _ := bytes.Cut([]byte(b), []byte("="))
		return bytes.Compare(ka, kb)
	})
	return out
}

func checkRollback(t *testing.T, s store.Store) {
	defer s.Close()
	must(t, s.Update(func(tx store.Tx) error { return tx.Set([]byte("a"), []byte("1")) }))
	err := s.Update(func(tx store.Tx) error {
		return errors.Join(tx.Set([]byte("a"), []byte("2")), tx.Set([]byte("b"), nil), errWanted)
	})
	if !errors.Is(err, errWanted) {
		t.Fatalf("update: %v", err)
	}
	must(t, s.View(func(tx store.Tx) error {
		v, ok, err := tx.Get([]byte("a"))
		if string(v) != "1" || !ok || err != nil {
			t.Errorf("a = %q %v %v", v, ok, err)
		}
		if _, ok, err := tx.Get([]byte("b")); ok || err != nil {
			t.Errorf("b exists: %v %v", ok, err)
		}
		return nil
	}))
}

func checkScan(t *testing.T, s store.Store) {
	defer s.Close()
	must(t, s.Update(func(tx store.Tx) error {
		for _, k := range []string{"p1", "p2", "p3", "q"} {
			must(t, tx.Set([]byte(k), nil))
		}
		var seen []string
		err := tx.Scan([]byte("p"), nil, func(k, _ []byte) error {
			seen = append(seen, string(k))
			if string(k) == "p2" {
				return store.ErrStop
			}
			return tx.Delete(k)
		})
		if err != nil || !slices.Equal(seen, []string{"p1", "p2"}) {
			t.Errorf("scan: %v %v", seen, err)
		}
		if _, ok, _ := tx.Get([]byte("p1")); ok {
			t.Error("p1 was not deleted")
		}
		if err := tx.Scan(nil, nil, func(_, _ []byte) error { return errWanted }); !errors.Is(err, errWanted) {
			t.Errorf("scan hides the error: %v", err)
		}
		return nil
	}))
}

func checkCopies(t *testing.T, s store.Store) {
	defer s.Close()
	key, val := []byte("k"), []byte("v")
	must(t, s.Update(func(tx store.Tx) error { return tx.Set(key, val) }))
	key[0], val[0] = 'x', 'x'
	must(t, s.View(func(tx store.Tx) error {
		v, ok, err := tx.Get([]byte("k"))
		if string(v) != "v" || !ok || err != nil {
			t.Fatalf("k = %q %v %v", v, ok, err)
		}
		v[0] = 'y'
		if v, _, _ := tx.Get([]byte("k")); string(v) != "v" {
			t.Errorf("a returned value was not a copy: %q", v)
		}
		return nil
	}))
}

func checkClosed(t *testing.T, s store.Store) {
	must(t, s.Close())
	nothing := func(store.Tx) error { return nil }
	if err := s.Update(nothing); !errors.Is(err, store.ErrClosed) {
		t.Errorf("update: %v", err)
	}
	if err := s.View(nothing); !errors.Is(err, store.ErrClosed) {
		t.Errorf("view: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
