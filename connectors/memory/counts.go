package memory

import (
	"maps"

	"github.com/entente-sync/entente/connectors"
)

// Counts are what connectors of the system's account wrote, to prove that there
// was no echo and no duplicate. Users, other accounts and refused writes are not
// in it.
type Counts struct {
	Calls   map[Call]int // every call of any connector, failed ones too
	Kinds   map[connectors.WriteKind]int
	Records map[connectors.Key]map[connectors.WriteKind]int
	Fields  map[connectors.Key]map[string]int // writes that named the field
	Vain    map[connectors.Key]int            // updates that changed nothing: echoes
}

func newCounts() Counts {
	return Counts{
		Calls: map[Call]int{}, Kinds: map[connectors.WriteKind]int{},
		Records: map[connectors.Key]map[connectors.WriteKind]int{},
		Fields:  map[connectors.Key]map[string]int{}, Vain: map[connectors.Key]int{},
	}
}

func (c *Counts) add(key connectors.Key, kind connectors.WriteKind) {
	c.Kinds[kind]++
	if c.Records[key] == nil {
		c.Records[key] = map[connectors.WriteKind]int{}
	}
	c.Records[key][kind]++
}

func (c *Counts) addField(key connectors.Key, field string) {
	if c.Fields[key] == nil {
		c.Fields[key] = map[string]int{}
	}
	c.Fields[key][field]++
}

// Writes is the number of writes of all kinds.
func (c Counts) Writes() int {
	n := 0
	for _, k := range c.Kinds {
		n += k
	}
	return n
}

// Counts returns a copy.
func (s *System) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := newCounts()
	maps.Copy(c.Calls, s.counts.Calls)
	maps.Copy(c.Kinds, s.counts.Kinds)
	maps.Copy(c.Vain, s.counts.Vain)
	for key, m := range s.counts.Records {
		c.Records[key] = maps.Clone(m)
	}
	for key, m := range s.counts.Fields {
		c.Fields[key] = maps.Clone(m)
	}
	return c
}

// ResetCounts starts counting anew.
func (s *System) ResetCounts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts = newCounts()
}
