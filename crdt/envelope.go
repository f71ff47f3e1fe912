package crdt

import (
	"errors"
	"fmt"

	"github.com/entente-sync/entente/crdt/value"
)

// EnvelopeFormat is the version byte of the envelope around every value.
// Layout: format, length of the key id (one byte), key id, body. An empty key id
// means that the body is the canonical bytes of a value, readable by everybody.
// Package seal makes the other kind.
const EnvelopeFormat = 1

// KeyIDBytesMax bounds the key id of an envelope.
const KeyIDBytesMax = 32

// Errors of envelopes, to be matched with errors.Is; a newer format gives
// ErrNewer.
var (
	ErrEnvelope = fmt.Errorf("value envelope: %w", ErrMalformed)
	ErrSealed   = errors.New("value is sealed with a key that is not held here")
)

// Plain wraps v unsealed.
func Plain(v value.Value) []byte { return v.Append([]byte{EnvelopeFormat, 0}) }

// OpenPlain reads what Plain wrote. A sealed envelope gives ErrSealed, a newer
// one ErrNewer, anything else ErrMalformed.
func OpenPlain(envelope []byte) (value.Value, error) {
	id, body, err := SplitEnvelope(envelope)
	if err != nil {
		return value.Value{}, err
	}
	if id != "" {
		return value.Value{}, fmt.Errorf("%w: key %q", ErrSealed, id)
	}
	v, err := value.Decode(body)
	if err != nil {
		return value.Value{}, fmt.Errorf("%w: %w", ErrEnvelope, err)
	}
	return v, nil
}

// SplitEnvelope returns the key id and the body, which aliases envelope.
func SplitEnvelope(envelope []byte) (keyID string, body []byte, err error) {
	if len(envelope) == 0 {
		return "", nil, fmt.Errorf("%w: empty", ErrEnvelope)
	}
	if envelope[0] > EnvelopeFormat {
		return "", nil, fmt.Errorf("value envelope: %w: format %d, known up to %d", ErrNewer, envelope[0], EnvelopeFormat)
	}
	if envelope[0] == 0 || len(envelope) < 2 {
		return "", nil, fmt.Errorf("%w: header", ErrEnvelope)
	}
	n := int(envelope[1])
	if n > KeyIDBytesMax || len(envelope) < 2+n {
		return "", nil, fmt.Errorf("%w: key id of %d bytes", ErrEnvelope, n)
	}
	return string(envelope[2 : 2+n]), envelope[2+n:], nil
}
