package core

import (
	"crypto/hmac"
	"crypto/sha256"

	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/agent/store/pack"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/seal"
)

const tableIdentity = 'a' // -> identity

const identityVersion = 1

// identity is what makes this store this agent.
type identity struct {
	Seed        [32]byte
	Incarnation uint64
	// Generation grows whenever this store turns out to be an older copy of itself.
	Generation uint64
	// AheadMillis is how far our clock was ahead of the hub's when it refused a
	// stamp; 0 while nobody complained.
	AheadMillis int64
	NextIntent  IntentID
}

func (s *step) loadIdentity() (known bool, err error) {
	b, ok, err := s.tx.Get(pack.Key(tableIdentity))
	if err != nil || !ok {
		return false, err
	}
	s.self, err = decodeIdentity(b)
	return true, err
}

func (s *step) saveIdentity() error {
	return s.tx.Set(pack.Key(tableIdentity), encodeIdentity(&s.self))
}

func encodeIdentity(id *identity) []byte {
	w := pack.NewWriter(identityVersion)
	w.String(string(id.Seed[:]))
	w.Uint(id.Incarnation)
	w.Uint(id.Generation)
	w.Int(id.AheadMillis)
	w.Uint(uint64(id.NextIntent))
	return w.Bytes()
}

func decodeIdentity(b []byte) (identity, error) {
	r := pack.NewReader(b, identityVersion)
	var id identity
	copy(id.Seed[:], r.String())
	id.Incarnation = r.Uint()
	id.Generation = r.Uint()
	id.AheadMillis = r.Int()
	id.NextIntent = IntentID(r.Uint())
	return id, r.Close("agent identity")
}

// Incarnation returns the incarnation that new ops are made under, 0 before
// Opened.
func Incarnation(tx store.Tx) (uint64, error) {
	b, ok, err := tx.Get(pack.Key(tableIdentity))
	if err != nil || !ok {
		return 0, err
	}
	id, err := decodeIdentity(b)
	return id.Incarnation, err
}

func (s *step) author() crdt.Author {
	return crdt.Author{Site: s.cfg.Site, Agent: s.cfg.Agent, Incarnation: s.self.Incarnation}
}

// renew takes a new incarnation: at least one more than any known one, and at
// least the time, so that two copies of one store, opened one after the other,
// do not take the same.
func (s *step) renew(known uint64) error {
	s.self.Incarnation = max(s.self.Incarnation+1, known+1, uint64(max(s.now/1000, 0)))
	return s.saveIdentity()
}

func (s *step) derive(purpose string, parts ...string) []byte {
	mac := hmac.New(sha256.New, s.self.Seed[:])
	mac.Write(pack.Key(0, append([]string{purpose}, parts...)...))
	return mac.Sum(nil)
}

// recordID names the record that a local key becomes, the same after every
// restart and on every copy of this store.
func (s *step) recordID(system string, key connectors.Key) crdt.RecordID {
	return crdt.RecordID(s.derive("record", system, string(key))[:16])
}

// commentID names the child record that a local comment becomes.
func (s *step) commentID(system string, key connectors.Key, comment string) crdt.RecordID {
	return crdt.RecordID(s.derive("comment", system, string(key), comment)[:16])
}

// linkKey seals the registers that tie records to local keys.
func (s *step) linkKey() seal.Key {
	return seal.Key{ID: "link", Secret: [32]byte(s.derive("link"))}
}
