// Package enrol is a node's way into a hub, from the side of the node: it reads a
// join token, makes a key, and gets a certificate for it.
package enrol

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/entente-sync/entente/hub/admin"
	"github.com/entente-sync/entente/hub/command"
)

// ErrToken is wrapped by errors about a token that cannot be read.
var ErrToken = errors.New("malformed join token")

const (
	tokenPrefix   = "entente-join-1."
	tokenBytesMax = 8 << 10
)

// Token lets one node of one name enrol once. It holds a secret, and the
// certificate of the hub's authority, so that the node trusts nobody else.
type Token struct {
	Hub    string `json:"hub"`
	Node   string `json:"node"`
	CA     string `json:"ca"` // PEM
	ID     string `json:"id"`
	Secret string `json:"secret"`
}

// New makes a token and what the hub is to remember of it.
func New(hub, node, replaces, ca string, until time.Time) (Token, admin.TokenRequest, error) {
	var id command.TokenID
	var secret [32]byte
	for _, b := range [][]byte{id[:], secret[:]} {
		if _, err := rand.Read(b); err != nil {
			return Token{}, admin.TokenRequest{}, fmt.Errorf("join token: %w", err)
		}
	}
	sum := sha256.Sum256(secret[:])
	t := Token{Hub: hub, Node: node, CA: ca, ID: id.String(), Secret: hex.EncodeToString(secret[:])}
	return t, admin.TokenRequest{
		Node: node, Replaces: replaces, ID: t.ID, Secret: hex.EncodeToString(sum[:]), ExpiresMillis: until.UnixMilli(),
	}, nil
}

// String keeps the secret out of logs; Encode shows it.
func (t Token) String() string { return "join token " + t.ID + " for node " + t.Node }

// Encode returns the one line that is handed over.
func (t Token) Encode() (string, error) {
	b, err := json.Marshal(t)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b), err
}

// Parse reads what Encode returned.
func Parse(line string) (Token, error) {
	line = strings.TrimSpace(line)
	rest, ok := strings.CutPrefix(line, tokenPrefix)
	if !ok || len(line) > tokenBytesMax {
		return Token{}, fmt.Errorf("%w: want one line that begins with %s", ErrToken, tokenPrefix)
	}
	b, err := base64.RawURLEncoding.DecodeString(rest)
	var t Token
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	if err != nil {
		return Token{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if t.Hub == "" || t.Node == "" || t.CA == "" || t.ID == "" || t.Secret == "" {
		return Token{}, fmt.Errorf("%w: it lacks a part", ErrToken)
	}
	return t, nil
}
