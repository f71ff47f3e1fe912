// Package seal is the envelope around every value that leaves an agent: a
// version, a key id, and bytes that only holders of that key can read. The hub
// stores and merges envelopes without opening them.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
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

// Key seals the values of one class of fields. ID is public; Secret has 32
// uniformly random bytes. Retire a key before it has sealed 2^32 values.
type Key struct {
	ID     string
	Secret [32]byte
}

// String shows the id and hides the secret.
func (k Key) String() string { return "key " + k.ID + " ***" }

// Format keeps the secret out of every verb of package fmt.
func (k Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.String())) }

// MarshalText keeps it out of JSON, and so out of structured logs. A key is not
// read back from there.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Plain wraps v unsealed.
func Plain(v value.Value) []byte { return crdt.Plain(v) }

// KeyID returns the id of the key that seals envelope, "" for a plain one.
func KeyID(envelope []byte) (string, error) {
	id, _, err := crdt.SplitEnvelope(envelope)
	return id, err
}

// OpenPlain reads a plain envelope; a sealed one gives ErrKey.
func OpenPlain(envelope []byte) (value.Value, error) { return crdt.OpenPlain(envelope) }

// Seal encrypts v with AES-256-GCM, bound to everything in op but its value, so
// that the envelope opens in no other op. The nonce is a MAC of that and of v, and
// leads the body: the same content gives the same envelope, and two contents
// never share a nonce, not even under one (author, seq). op.Value is ignored.
//
// Errors: ErrInvalid for an empty or overlong key id.
func Seal(k Key, op *crdt.Op, v value.Value) ([]byte, error) {
	keys, err := k.derive()
	if err != nil {
		return nil, err
	}
	bound, plain := binding(k.ID, op), v.Canonical()
	nonce := keys.nonce(bound, plain)
	out := append([]byte{Format, byte(len(k.ID))}, k.ID...)
	out = append(out, nonce...)
	return keys.aead.Seal(out, nonce, plain, bound), nil
}

// Open reads what Seal made for op (op.Value is the envelope).
//
// Errors: ErrNewer, ErrInvalid, ErrKey for another key's envelope, ErrForged for
// one that was made for another op or changed on its way.
func Open(k Key, op *crdt.Op) (value.Value, error) {
	id, body, err := crdt.SplitEnvelope(op.Value)
	if err != nil {
		return value.Value{}, err
	}
	if id != k.ID {
		return value.Value{}, fmt.Errorf("%w: key %q", ErrKey, id)
	}
	keys, err := k.derive()
	if err != nil {
		return value.Value{}, err
	}
	if len(body) < nonceBytes {
		return value.Value{}, fmt.Errorf("%w: body of %d bytes", ErrInvalid, len(body))
	}
	plain, err := keys.aead.Open(nil, body[:nonceBytes], body[nonceBytes:], binding(k.ID, op))
	if err != nil {
		return value.Value{}, fmt.Errorf("%w: op %s", ErrForged, op.ID())
	}
	return value.Decode(plain)
}

// binding is the additional data: the op's canonical bytes with the key's id in
// the place of the value.
func binding(keyID string, op *crdt.Op) []byte {
	bare := *op
	bare.Value = []byte(keyID)
	return bare.AppendCanonical([]byte("entente value 1\x00"))
}

const nonceBytes = 12

// keys are what a secret is stretched into: one use, one key.
type keys struct {
	aead     cipher.AEAD
	nonceKey []byte
}

func (k Key) derive() (keys, error) {
	if k.ID == "" || len(k.ID) > KeyIDBytesMax {
		return keys{}, fmt.Errorf("%w: key id of %d bytes", ErrInvalid, len(k.ID))
	}
	sealKey, err := hkdf.Key(sha256.New, k.Secret[:], nil, "entente seal 1 aead", 32)
	if err != nil {
		return keys{}, err
	}
	nonceKey, err := hkdf.Key(sha256.New, k.Secret[:], nil, "entente seal 1 nonce", 32)
	if err != nil {
		return keys{}, err
	}
	block, err := aes.NewCipher(sealKey)
	if err != nil {
		return keys{}, err
	}
	aead, err := cipher.NewGCM(block)
	return keys{aead: aead, nonceKey: nonceKey}, err
}

func (k keys) nonce(bound, plain []byte) []byte {
	mac := hmac.New(sha256.New, k.nonceKey)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(bound))))
	mac.Write(bound)
	mac.Write(plain)
	return mac.Sum(nil)[:nonceBytes]
}
