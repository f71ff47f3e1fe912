package crdt

import (
	"bytes"
	"cmp"
	"fmt"
)

// Key names one register: the only thing that is ever merged.
// Keys are comparable and order by pact, type, record, field.
type Key struct {
	Pact   Pact
	Type   Type
	Record RecordID
	Field  Field
}

// Compare orders keys so that the registers of one record are neighbours.
func (k Key) Compare(o Key) int {
	if c := cmp.Compare(k.Pact, o.Pact); c != 0 {
		return c
	}
	if c := cmp.Compare(k.Type, o.Type); c != 0 {
		return c
	}
	if c := bytes.Compare(k.Record[:], o.Record[:]); c != 0 {
		return c
	}
	return cmp.Compare(k.Field, o.Field)
}

// Sibling returns the key of another register of the same record.
func (k Key) Sibling(f Field) Key {
	k.Field = f
	return k
}

// String is for people and logs: pact/type/record/field.
func (k Key) String() string {
	return fmt.Sprintf("%s/%s/%s/%s", k.Pact, k.Type, k.Record, k.Field)
}

// Validate reports the first part of k that is not well formed.
func (k Key) Validate() error {
	if _, err := ParsePact(string(k.Pact)); err != nil {
		return err
	}
	if _, err := ParseType(string(k.Type)); err != nil {
		return err
	}
	if k.Record.IsZero() {
		return fmt.Errorf("%w: record id is zero", ErrName)
	}
	_, err := ParseField(string(k.Field))
	return err
}
