package state

import "hash/maphash"

// seed keeps hostile names from sharing one hash. What it is has no influence on
// what is found.
var seed = maphash.MakeSeed()

// names numbers the names of one kind in one pact: those of fields, or of record
// types. A number is good for as long as the pact; a name costs its own length and
// some 20 bytes.
type names struct {
	refs  slab[nameRef]
	bytes [][]byte // chunks
	found index
}

type nameRef struct {
	chunk uint32
	at    uint16
	size  uint16
}

const nameChunk = 16 << 10

// id returns the number of name, 0 if it has none.
func (n *names) id(name string) uint32 { return n.lookup(maphash.String(seed, name), name) }

func (n *names) lookup(h uint64, name string) uint32 {
	p := n.found.find(h)
	for id := p.next(); id != 0; id = p.next() {
		if string(n.text(id)) == name {
			return id
		}
	}
	return 0
}

// intern returns the number of name, a new one if it has none.
func (n *names) intern(name string) uint32 {
	h := maphash.String(seed, name)
	if id := n.lookup(h, name); id != 0 {
		return id
	}
	last := len(n.bytes) - 1
	if last < 0 || len(n.bytes[last])+len(name) > nameChunk {
		n.bytes = append(n.bytes, nil)
		last++
	}
	id, ref := n.refs.add()
	*ref = nameRef{chunk: uint32(last), at: uint16(len(n.bytes[last])), size: uint16(len(name))}
	n.bytes[last] = append(n.bytes[last], name...)
	n.found.add(h, id, func(id uint32) uint64 { return maphash.Bytes(seed, n.text(id)) })
	return id
}

// text returns the name of that number; it must not be changed.
func (n *names) text(id uint32) []byte {
	r := n.refs.at(id)
	return n.bytes[r.chunk][r.at : int(r.at)+int(r.size)]
}
