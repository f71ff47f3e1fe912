// Package seal is the envelope around every value that leaves an agent: a
// version, a key id, and bytes that only holders of that key can read. The hub
// stores and merges envelopes without opening them.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

// Format is the version byte of an envelope; see crdt.EnvelopeFormat.
const Format = crdt.EnvelopeFormat

// KeyIDBytesMax bounds a key id.
const KeyIDBytesMax = crdt.KeyIDBytesMax

// Errors, to be matched with errors.Is.
var (
	ErrNewer   = crdt.ErrNewer
	ErrKey     = crdt.ErrSealed
	ErrInvalid = crdt.ErrEnvelope
	ErrForged  = errors.New("sealed value does not belong to this op")
)

// Key seals the values of one class of fields. ID is public; Secret has 32 bytes.
type Key struct {
	ID     string
	Secret [32]byte
}

// String keeps the secret out of logs.
func (k Key) String() string { return "key " + k.ID + " ***" }

// GoString keeps the secret out of dumps.
func (k Key) GoString() string { return k.String() }

// Plain wraps v unsealed.
func Plain(v value.Value) []byte { return crdt.Plain(v) }

// KeyID returns the id of the key that seals envelope, "" for a plain one.
func KeyID(envelope []byte) (string, error) {
	id, _, err := crdt.SplitEnvelope(envelope)
	return id, err
}

// OpenPlain reads a plain envelope; a sealed one gives ErrKey.
func OpenPlain(envelope []byte) (value.Value, error) { return crdt.OpenPlain(envelope) }

// Seal encrypts v with AES-256-GCM, bound to the register, stamp, author and seq
// of op, so that it cannot be moved to another one. The nonce is derived from
// those too; (author, seq) names one op for ever, so that it never repeats for
// different content. op.Value is ignored.
func Seal(k Key, op *crdt.Op, v value.Value) ([]byte, error) {
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	bound := binding(k.ID, op)
	out := append([]byte{Format, byte(len(k.ID))}, k.ID...)
	return aead.Seal(out, k.nonce(bound), v.Canonical(), bound), nil
}

// Open reads what Seal made for op (op.Value is the envelope).
func Open(k Key, op *crdt.Op) (value.Value, error) {
	id, body, err := crdt.SplitEnvelope(op.Value)
	if err != nil {
		return value.Value{}, err
	}
	if id != k.ID {
		return value.Value{}, fmt.Errorf("%w: key %q", ErrKey, id)
	}
	aead, err := k.aead()
	if err != nil {
		return value.Value{}, err
	}
	bound := binding(k.ID, op)
	plain, err := aead.Open(nil, k.nonce(bound), body, bound)
	if err != nil {
		return value.Value{}, fmt.Errorf("%w: op %s", ErrForged, op.ID())
	}
	return value.Decode(plain)
}

// binding is the additional data: the op's canonical bytes without its value.
func binding(keyID string, op *crdt.Op) []byte {
	bare := *op
	bare.Value = []byte(keyID)
	return bare.AppendCanonical([]byte("entente value 1\x00"))
}

func (k Key) nonce(bound []byte) []byte {
	mac := hmac.New(sha256.New, k.Secret[:])
	mac.Write([]byte("nonce\x00"))
	mac.Write(bound)
	return mac.Sum(nil)[:12]
}

func (k Key) aead() (cipher.AEAD, error) {
	if k.ID == "" || len(k.ID) > KeyIDBytesMax {
		return nil, fmt.Errorf("%w: key id of %d bytes", ErrInvalid, len(k.ID))
	}
	block, err := aes.NewCipher(k.Secret[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
