package command

import "github.com/entente-sync/entente/crdt"

// Flow names whose work a command is: of one site in one pact. The zero Flow is
// the hub's own work.
type Flow struct {
	Pact crdt.Pact
	Site crdt.Site
}

// FlowOf returns whose work c is. A command of a member says so with a method
// Flow; every other one is the hub's own.
func FlowOf(c Command) Flow {
	if member, ok := c.(interface{ Flow() Flow }); ok {
		return member.Flow()
	}
	return Flow{}
}

// Flow makes a batch the work of the site that sent it.
func (c *Publish) Flow() Flow { return Flow{c.Pact, c.Site} }

// Flow makes an offer the work of the site that sent it.
func (c *Offer) Flow() Flow { return Flow{c.Pact, c.Site} }

// Encoded is a command as it stands in an entry. Its length is what it takes of
// EntryBytesMax.
type Encoded []byte

// EncodedBytesMax is the largest Encoded that fits into an entry, alone.
const EncodedBytesMax = EntryBytesMax - headerBytes - trailerBytes

// EncodeCommand encodes c by itself, so that it can wait in known space and go
// into an entry without being looked at again.
func EncodeCommand(c Command) Encoded { return appendCommand(nil, c) }

// Kind returns the command's kind.
func (e Encoded) Kind() Kind {
	if len(e) == 0 {
		return 0
	}
	return Kind(e[0])
}

// AddEncoded is Add for a command that is encoded already.
func (b *Builder) AddEncoded(e Encoded) bool {
	if len(b.buf)+len(e)+trailerBytes > EntryBytesMax {
		return false
	}
	b.buf = append(b.buf, e...)
	b.count++
	return true
}

// Room returns how many bytes of commands still fit.
func (b *Builder) Room() int { return EntryBytesMax - trailerBytes - len(b.buf) }
