package backup

import (
	"bytes"
	"fmt"
	"io"

	"filippo.io/age"
)

// ParseRecipients reads age recipients (age1..., age1pq1...), one a line, and
// checks that they can be used together. No text is no recipients: nothing is
// sealed.
func ParseRecipients(text []byte) ([]age.Recipient, error) {
	if len(text) == 0 {
		return nil, nil
	}
	recipients, err := age.ParseRecipients(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("age recipients: %w", err)
	}
	proof, err := newProof(recipients)
	if err != nil {
		return nil, err
	}
	if _, err := age.Encrypt(io.Discard, proof.recipients...); err != nil {
		return nil, fmt.Errorf("age recipients: %w", err)
	}
	return recipients, nil
}

// ParseIdentities reads age identities (AGE-SECRET-KEY-1...), one a line. No text
// is no identities.
func ParseIdentities(text []byte) ([]age.Identity, error) {
	if len(text) == 0 {
		return nil, nil
	}
	identities, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("age identities: %w", err)
	}
	return identities, nil
}
