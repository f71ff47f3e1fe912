package command

import (
	"encoding/hex"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/codec"
)

// Limits of what is said of a node, in bytes.
const (
	SoftwareBytesMax = 64
	WhyBytesMax      = 256
)

// NodeAct is what a Node command does. The numbers are part of the format.
type NodeAct uint8

// Acts.
const (
	// NodeAdmit lets a node join: the hub knows it by name from now on.
	NodeAdmit NodeAct = 1
	// NodeTell is what a node says of itself: where it is reached, what it is.
	NodeTell NodeAct = 2
	// NodeReplace makes a node the successor of another, which leaves the hub
	// once the successor votes; an empty Replaces takes that back.
	NodeReplace NodeAct = 3
	// NodeRemove takes a node out of the hub for good.
	NodeRemove NodeAct = 4
)

// Node changes what the hub knows of one of its nodes: its address book. Raft
// alone says who is a member and who votes; this says who may become one, where
// each is reached, and what is to happen to it. Fields that an act does not use
// are zero.
type Node struct {
	Act  NodeAct
	Name string

	// Replaces names the node that this one takes the place of: NodeAdmit, NodeReplace.
	Replaces string

	// Of NodeTell: where other nodes and agents reach it (CheckAddress), its
	// version for people, the newest kind of command that it knows, and when its
	// certificate ends.
	Nodes, Agents string
	Software      string
	Speaks        Kind
	ExpiresMillis int64

	// Why is what the operator gave as reason: NodeRemove.
	Why string
}

// TokenAct is what a Token command does. The numbers are part of the format.
type TokenAct uint8

// Acts.
const (
	// TokenIssue makes a token valid, and any older one for the same node invalid.
	TokenIssue TokenAct = 1
	// TokenSpend uses it up for one key, and admits its node. The same key may spend
	// it again until it expires, since an answer may get lost.
	TokenSpend TokenAct = 2
)

// TokenID names a token; it is no secret.
type TokenID [8]byte

// String returns 16 hexadecimal digits.
func (id TokenID) String() string { return hex.EncodeToString(id[:]) }

// Token is about a join token: one node may enrol once with it, before it
// expires by the clock of the entry. The secret itself never enters the log.
type Token struct {
	Act TokenAct
	ID  TokenID

	// Of TokenIssue: the node that may enrol, whom it replaces, the SHA-256 of the
	// secret, and until when.
	Node          string
	Replaces      string
	Secret        [32]byte
	ExpiresMillis int64

	// Key is the SHA-256 of the public key that enrolled: TokenSpend.
	Key [32]byte
}

// Kind implements Command.
func (*Node) Kind() Kind  { return KindNode }
func (*Token) Kind() Kind { return KindToken } // Kind implements Command.

// nodeFormat and tokenFormat begin the bodies, so that they can grow.
const (
	nodeFormat  = 1
	tokenFormat = 1
)

func (c *Node) appendBody(b []byte) []byte {
	b = append(b, nodeFormat, byte(c.Act))
	b = codec.AppendBytes(b, c.Name)
	b = codec.AppendBytes(b, c.Replaces)
	b = codec.AppendBytes(b, c.Nodes)
	b = codec.AppendBytes(b, c.Agents)
	b = codec.AppendBytes(b, c.Software)
	b = append(b, byte(c.Speaks))
	b = codec.AppendFixed64(b, uint64(c.ExpiresMillis))
	return codec.AppendBytes(b, c.Why)
}

func readNode(r *codec.Reader) (*Node, error) {
	if err := bodyFormat(r, KindNode, nodeFormat); err != nil {
		return nil, err
	}
	return &Node{
		Act: NodeAct(r.Byte()), Name: r.String(crdt.NameBytesMax), Replaces: r.String(crdt.NameBytesMax),
		Nodes: r.String(AddressBytesMax), Agents: r.String(AddressBytesMax), Software: r.String(SoftwareBytesMax),
		Speaks: Kind(r.Byte()), ExpiresMillis: int64(r.Fixed64()), Why: r.String(WhyBytesMax),
	}, nil
}

func (c *Token) appendBody(b []byte) []byte {
	b = append(b, tokenFormat, byte(c.Act))
	b = append(b, c.ID[:]...)
	b = codec.AppendBytes(b, c.Node)
	b = codec.AppendBytes(b, c.Replaces)
	b = append(b, c.Secret[:]...)
	b = codec.AppendFixed64(b, uint64(c.ExpiresMillis))
	return append(b, c.Key[:]...)
}

func readToken(r *codec.Reader) (*Token, error) {
	if err := bodyFormat(r, KindToken, tokenFormat); err != nil {
		return nil, err
	}
	c := &Token{Act: TokenAct(r.Byte())}
	copy(c.ID[:], r.Take(len(c.ID)))
	c.Node, c.Replaces = r.String(crdt.NameBytesMax), r.String(crdt.NameBytesMax)
	copy(c.Secret[:], r.Take(len(c.Secret)))
	c.ExpiresMillis = int64(r.Fixed64())
	copy(c.Key[:], r.Take(len(c.Key)))
	return c, nil
}
