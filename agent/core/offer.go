package core

import (
	"bytes"

	"github.com/entente-sync/entente/agent/inbox"
	"github.com/entente-sync/entente/agent/outbox"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/crdt"
)

// OfferPart is a piece of what an agent brings to a hub of another epoch: one
// that was restored from a backup, or lost everything and began anew. The members
// together hold all that it had.
type OfferPart struct {
	Registers []crdt.Register // as they were read, whoever wrote them
	// Older is the ancestry of the epochs that they were read in; with the first
	// part.
	Older crdt.Lineage
	// Next names the place after this part; an Offered carries it.
	Next []byte
	// End: nothing follows. After is the op before the first that is to be
	// published; Held is how far older epochs were read.
	End   bool
	After crdt.OpID
	Held  []crdt.Position
}

// Offering reports whether a pact's offer is open: nothing is published or read
// meanwhile.
func Offering(tx store.Tx, name crdt.Pact) (bool, error) {
	f, err := inbox.GetFeed(tx, name)
	return f.Offer.Open, err
}

// OfferStatus is how far an offer is.
type OfferStatus struct {
	Open           bool
	Taken, Refused uint64 // registers that the hub answered in this epoch
	Left           uint64 // that may be offered yet, at most; 0 if it is not open
}

// OfferOf returns how far a pact's offer is. While it is open that takes as long
// as reading everything that is left.
func OfferOf(tx store.Tx, name crdt.Pact) (out OfferStatus, err error) {
	f, err := inbox.GetFeed(tx, name)
	if err != nil {
		return out, err
	}
	out = OfferStatus{Open: f.Offer.Open, Taken: f.Offer.Taken, Refused: f.Offer.Refused}
	if out.Open {
		out.Left, err = inbox.Count(tx, name, f.Offer.Next)
	}
	return out, err
}

// NextOffer returns the next part of an open offer, at most max registers of at
// most bytesMax by size, but at least one if there is any. What the hub is known to
// have is left out. Nothing of the new epoch was read since it was greeted, so what
// is held is what was held then.
func NextOffer(tx store.Tx, name crdt.Pact, most, bytesMax int, size func(*crdt.Op) int) (part OfferPart, open bool, err error) {
	f, err := inbox.GetFeed(tx, name)
	if err != nil || !f.Offer.Open {
		return part, false, err
	}
	if len(f.Offer.Next) == 0 {
		part.Older = f.Offer.Older
	}
	part.Next, part.End = f.Offer.Next, true
	at, total := crdt.Position{Epoch: f.Epoch, Offset: f.Offer.Head}, 0
	err = inbox.Walk(tx, name, f.Offer.Next, func(key []byte, r crdt.Register) error {
		if r.Birth.IsZero() || f.Lineage.Covers(at, r.Birth) {
			return nil
		}
		total += size(&r.Op)
		if n := len(part.Registers); n > 0 && (n >= most || total > bytesMax) {
			part.Next, part.End = key, false
			return store.ErrStop
		}
		part.Registers = append(part.Registers, r)
		return nil
	})
	if err != nil || !part.End {
		return part, true, err
	}
	if f.Offer.Refused == 0 { // else it is not all there
		part.Held = f.Held
	}
	part.After, err = outbox.After(tx, name)
	return part, true, err
}

// afresh is the place in the feed of a new epoch. What was read of the old one is
// to be offered.
func afresh(f *inbox.Feed, e *Greeted) inbox.Feed {
	held := f.Held
	if f.Whole > 0 {
		held = append(held, crdt.Position{Epoch: f.Epoch, Offset: f.Whole})
	}
	return inbox.Feed{
		Epoch: e.Epoch, Known: f.Known, Held: held[max(0, len(held)-inbox.HeldMax):],
		Offer: inbox.Offer{Open: f.Epoch != 0, Head: e.Head, Older: f.Lineage},
	}
}

// offered takes the hub's answer to a part in.
func (s *step) offered(e Offered) error {
	f, err := inbox.GetFeed(s.tx, e.Pact)
	if err != nil || f.Epoch != e.Epoch || !f.Offer.Open || bytes.Compare(e.Next, f.Offer.Next) < 0 {
		return err // of another life, or known
	}
	f.Offer.Taken += uint64(max(e.Taken, 0))
	f.Offer.Refused += uint64(max(e.Refused, 0))
	f.Offer.Next = e.Next
	if e.Done {
		f.Offer = inbox.Offer{Taken: f.Offer.Taken, Refused: f.Offer.Refused}
		s.send(e.Pact, true)
	}
	return inbox.PutFeed(s.tx, e.Pact, f)
}
