package store

import "github.com/dgraph-io/badger/v4"

// Damage copies the raw row of one key under another, as a database that mixes
// rows up would.
func (s *Badger) Damage(from, to []byte) error {
	return s.db.Update(func(txn *badger.Txn) error {
		item, err := txn.Get(from)
		if err != nil {
			return err
		}
		raw, err := item.ValueCopy(nil)
		if err != nil {
			return err
		}
		return txn.Set(to, raw)
	})
}
