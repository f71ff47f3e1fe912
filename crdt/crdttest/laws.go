package crdttest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/entente-sync/entente/crdt"
)

// JoinFunc is the shape of crdt.Join, so that a broken one can be put to the laws.
type JoinFunc func(a, b *crdt.Register) *crdt.Register

// Laws reports the first law of a join that a, b and c break: commutative,
// associative, idempotent, an upper bound of both sides, never-written as
// identity.
func Laws(join JoinFunc, a, b, c *crdt.Register) error {
	var zero crdt.Register
	laws := []struct {
		name        string
		left, right *crdt.Register
	}{
		{"commutative", join(a, b), join(b, a)},
		{"associative", join(join(a, b), c), join(a, join(b, c))},
		{"idempotent", join(a, a), a},
		{"upper bound", join(join(a, b), b), join(a, b)},
		{"identity", join(&zero, a), a},
	}
	for _, law := range laws {
		if !SameRegister(law.left, law.right) {
			return fmt.Errorf("join is not %s: %+v and %+v", law.name, law.left, law.right)
		}
	}
	return nil
}

// SameRegister reports whether a and b are one version with one birth, byte for
// byte.
func SameRegister(a, b *crdt.Register) bool {
	return a.Digest == b.Digest && a.Birth == b.Birth &&
		bytes.Equal(a.Op.AppendCanonical(nil), b.Op.AppendCanonical(nil))
}

// Twin joins versions of one register the dumb way: it writes each as a string
// that sorts as versions do, sorts, and takes the last, with the first birth
// known of it.
func Twin(versions []crdt.Register) crdt.Register {
	type row struct {
		order, birth string
		register     crdt.Register
	}
	var rows []row
	for _, r := range versions {
		if r.Op.Stamp != 0 {
			rows = append(rows, row{sortable(&r.Op), sortableBirth(r.Birth), r})
		}
	}
	if len(rows) == 0 {
		return crdt.Register{}
	}
	slices.SortFunc(rows, func(a, b row) int {
		return bytes.Compare([]byte(a.order+b.birth), []byte(b.order+a.birth)) // births downwards
	})
	return rows[len(rows)-1].register
}

func sortable(o *crdt.Op) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(o.Stamp))
	b = append(b, o.Author.Site...)
	b = append(b, 0)
	b = append(b, o.Author.Agent...)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint64(b, o.Author.Incarnation)
	digest := sha256.Sum256(o.AppendCanonical(nil))
	return string(append(b, digest[:]...))
}

// sortableBirth puts an unknown birth behind every known one.
func sortableBirth(p crdt.Position) string {
	if p.IsZero() {
		return string(bytes.Repeat([]byte{0xff}, 17))
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(p.Epoch))
	return string(binary.BigEndian.AppendUint64(b, uint64(p.Offset)))
}

// Groupings calls visit with the result of joining versions, in their order, in
// every way that parentheses allow.
func Groupings(join JoinFunc, versions []crdt.Register, visit func(*crdt.Register)) {
	if len(versions) == 1 {
		visit(&versions[0])
		return
	}
	for cut := 1; cut < len(versions); cut++ {
		Groupings(join, versions[:cut], func(left *crdt.Register) {
			Groupings(join, versions[cut:], func(right *crdt.Register) { visit(join(left, right)) })
		})
	}
}
