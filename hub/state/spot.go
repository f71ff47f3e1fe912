package state

import "github.com/entente-sync/entente/crdt"

// spot is where an op leads in the state as it is. What is 0 was not there, and
// may have come since; what is not stays as long as the pact.
type spot struct {
	hash  uint64 // of the record
	typ   uint32
	rec   uint32
	field uint32
	at    uint32 // row of the register
}

// spot finds where one op leads.
func (p *pactState) spot(key *crdt.Key) spot {
	s := spot{typ: p.types.id(string(key.Type)), field: p.fields.id(string(key.Field))}
	if s.typ != 0 {
		s.hash = hashRecord(s.typ, key.Record)
		s.rec = p.records.find(s.hash, s.typ, key.Record)
	}
	s.at = p.at(s.rec, s.field)
	return s
}

// spots finds where the ops of a batch lead. In a large state each step of the
// way (index, record, its list of registers, row, page) is a miss of every cache,
// and each follows from the one before. So all ops take one step before any takes
// the next: the misses of different ops do not wait for each other, and what Apply
// reads afterwards is near. The result is good until the next call.
func (m *Machine) spots(p *pactState, ops []crdt.Op) []spot {
	if cap(m.ahead) < len(ops) {
		m.ahead = make([]spot, len(ops))
	}
	on := m.ahead[:len(ops)]
	var near uint32 // what is read for its own sake
	for i := range on {
		key, s := &ops[i].Key, spot{}
		if i > 0 && key.Type == ops[i-1].Key.Type {
			s.typ = on[i-1].typ
		} else {
			s.typ = p.types.id(string(key.Type))
		}
		if s.typ != 0 {
			s.hash = hashRecord(s.typ, key.Record)
			near += p.records.found.near(s.hash)
		}
		s.field = p.fields.id(string(key.Field))
		on[i] = s
	}
	for i := range on {
		if s := &on[i]; s.typ != 0 {
			s.rec = p.records.find(s.hash, s.typ, ops[i].Key.Record)
		}
	}
	for i := range on {
		on[i].at = p.at(on[i].rec, on[i].field)
	}
	for i := range on {
		if at := on[i].at; at != 0 {
			near += p.rows.at(at).page
		}
	}
	for i := range on {
		if at := on[i].at; at != 0 {
			near += p.feed.pages[p.rows.at(at).page].near()
		}
	}
	m.near = near
	return on
}
