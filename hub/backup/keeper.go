package backup

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/entente-sync/entente/hub/command"
)

// Plan says when backups are made, where to, and for how long they are kept.
type Plan struct {
	Every      time.Duration
	Keep       Keep
	To         Destination
	Recipients []age.Recipient // nobody: backups are not sealed
}

// Keep says which backups stay: the newest Count and those younger than Age. A
// zero rule wants nothing; if both are zero everything stays.
type Keep struct {
	Count int
	Age   time.Duration
}

// Source makes a snapshot of the hub's state. The caller closes it.
type Source func() (Header, io.ReadCloser, error)

// Keeper makes the backups of one hub's Plan. It remembers nothing between two
// looks: what was done, the destination says, so any node can go on where another
// ended. One node at a time must look; if two do, both make the same period's
// backup, and the last one stays.
//
// Beside each backup stands a note that it was read back from there and found
// whole. Only what has its note counts: as made, and as a reason to remove older
// ones.
type Keeper struct {
	Plan
	Hub    command.HubID
	Source Source
}

// Taken is one verified backup at the destination.
type Taken struct {
	Name     string
	Bytes    int64
	Verified time.Time
}

// Look makes the backup of now's period unless it is there. It returns the newest
// verified one, new or not; nil if there is none. It removes what the plan does not
// keep, but only after it has made and verified a newer one.
func (k *Keeper) Look(ctx context.Context, now time.Time) (newest *Taken, err error) {
	names, err := k.To.List(ctx)
	if err != nil {
		return nil, err
	}
	held := k.held(names)
	due := k.name(now)
	if i := slices.IndexFunc(held, func(h kept) bool { return h.noted }); i >= 0 {
		if newest, err = k.read(ctx, &held[i]); err != nil {
			return nil, err
		}
	}
	if slices.ContainsFunc(held, func(h kept) bool { return h.noted && h.name == due }) {
		return newest, nil
	}
	taken, err := k.take(ctx, due, now)
	if err != nil {
		return newest, err
	}
	return taken, k.prune(ctx, held, due, now)
}

// take makes, reads back and notes one backup.
func (k *Keeper) take(ctx context.Context, name string, now time.Time) (*Taken, error) {
	proof, err := newProof(k.Recipients)
	if err != nil {
		return nil, err
	}
	if err := k.To.Delete(ctx, name+noteSuffix); err != nil { // the note must not outlive what it tells of
		return nil, err
	}
	sent, header, err := k.send(ctx, name, proof.recipients)
	if err != nil {
		return nil, err
	}
	report, err := k.readBack(ctx, name, proof.identities)
	switch {
	case err != nil:
	case report.Bytes != sent.n || !slices.Equal(report.SHA256[:], sent.sum.Sum(nil)):
		err = fmt.Errorf("%d bytes were sent, %d others came back", sent.n, report.Bytes)
	default:
		err = report.Header.same(&header)
	}
	if err != nil {
		return nil, fault(CodeUnverified, fmt.Errorf("read back %s: %w", name, err))
	}
	n := note{
		Version: noteVersion, Hub: report.Hub.String(), Epoch: report.Epoch.String(), Index: report.Index, Node: report.Node,
		Created: report.Created, Verified: now.UTC(), Bytes: report.Bytes, SHA256: hex.EncodeToString(report.SHA256[:]),
		Pacts: report.Pacts, Registers: report.Registers,
	}
	text, err := json.MarshalIndent(n, "", "  ")
	if err == nil {
		err = k.To.Put(ctx, name+noteSuffix, bytes.NewReader(append(text, '\n')))
	}
	if err != nil {
		return nil, err
	}
	return &Taken{Name: name, Bytes: report.Bytes, Verified: n.Verified}, nil
}

// send streams a new backup to the destination.
func (k *Keeper) send(ctx context.Context, name string, recipients []age.Recipient) (*meter, Header, error) {
	header, body, err := k.Source()
	if err != nil {
		return nil, header, err
	}
	defer body.Close()
	r, w := io.Pipe()
	written := make(chan struct{})
	go func() { // ends when all is read or r is closed
		defer close(written)
		w.CloseWithError(Write(w, header, recipients, func(w io.Writer) error {
			_, err := io.Copy(w, untilDone{ctx, body})
			return err
		}))
	}()
	sent := &meter{r: r, sum: sha256.New()}
	err = k.To.Put(ctx, name, sent)
	if err == nil {
		_, err = sent.Read(make([]byte, 1)) // a destination that stopped early has stored a part
		if errors.Is(err, io.EOF) {
			err = nil
		} else {
			err = cmp.Or(err, errors.New("the destination did not take all of it"))
		}
	}
	_ = r.CloseWithError(context.Canceled) // never fails
	<-written
	return sent, header, err
}

func (k *Keeper) readBack(ctx context.Context, name string, identities []age.Identity) (Report, error) {
	r, err := k.To.Get(ctx, name)
	if err != nil {
		return Report{}, err
	}
	defer r.Close()
	return Check(untilDone{ctx, r}, identities)
}

// read returns what is noted of a backup. A note that cannot be understood still
// says that one was made.
func (k *Keeper) read(ctx context.Context, h *kept) (*Taken, error) {
	r, err := k.To.Get(ctx, h.name+noteSuffix)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, noteBytesMax))
	if err != nil {
		return nil, err
	}
	var n note
	if json.Unmarshal(text, &n) != nil || n.Version > noteVersion {
		return &Taken{Name: h.name, Verified: h.period}, nil
	}
	return &Taken{Name: h.name, Bytes: n.Bytes, Verified: n.Verified}, nil
}

// prune removes what the plan does not keep, and what was never verified and is
// older than what now was. A backup goes before its note: what is left of a crash
// in between is a note of nothing, which the next one removes.
func (k *Keeper) prune(ctx context.Context, held []kept, newest string, now time.Time) error {
	verified := 1 // newest
	for _, h := range held {
		keep := h.name >= newest
		if h.noted && h.backup && h.name != newest {
			verified++
			keep = keep || k.Keep.wants(verified, now.Sub(h.period))
		}
		if keep {
			continue
		}
		if err := k.To.Delete(ctx, h.name); err != nil {
			return err
		}
		if err := k.To.Delete(ctx, h.name+noteSuffix); err != nil {
			return err
		}
	}
	return nil
}

// wants tells whether the nth newest backup, of that age, stays.
func (p Keep) wants(nth int, age time.Duration) bool {
	return p == Keep{} || nth <= p.Count || age < p.Age
}

// Names at the destination: hub, beginning of the period, suffix. They sort by
// time.
const (
	nameTime   = "20060102T150405Z"
	nameSuffix = ".backup"
	noteSuffix = ".verified"
)

func (k *Keeper) name(now time.Time) string {
	return k.Hub.String() + "-" + now.UTC().Truncate(k.Every).Format(nameTime) + nameSuffix
}

// kept is what the destination holds of one period.
type kept struct {
	name          string
	period        time.Time
	backup, noted bool
}

// held picks this hub's backups out of what lies there, newest first. Everything
// else is somebody else's.
func (k *Keeper) held(names []string) []kept {
	byName := map[string]*kept{}
	var order []*kept
	for _, full := range names {
		name, noted := strings.CutSuffix(full, noteSuffix)
		stem, ok := strings.CutSuffix(name, nameSuffix)
		when, ours := strings.CutPrefix(stem, k.Hub.String()+"-")
		period, err := time.Parse(nameTime, when)
		if !ok || !ours || err != nil {
			continue
		}
		h := byName[name]
		if h == nil {
			h = &kept{name: name, period: period}
			byName[name] = h
			order = append(order, h)
		}
		h.noted, h.backup = h.noted || noted, h.backup || !noted
	}
	var out []kept
	for _, h := range order {
		h.noted = h.noted && h.backup // a note of nothing says nothing
		out = append(out, *h)
	}
	slices.SortFunc(out, func(a, b kept) int { return cmp.Compare(b.name, a.name) })
	return out
}

// noteVersion is the format of a note.
const noteVersion = 1

// noteBytesMax bounds what is read of one.
const noteBytesMax = 64 << 10

// note is what stands beside a verified backup, for people too.
type note struct {
	Version   int       `json:"version"`
	Hub       string    `json:"hub"`
	Epoch     string    `json:"epoch"`
	Index     uint64    `json:"index"`
	Node      string    `json:"node"`
	Created   time.Time `json:"created"`
	Verified  time.Time `json:"verified"`
	Bytes     int64     `json:"bytes"`
	SHA256    string    `json:"sha256"`
	Pacts     uint64    `json:"pacts"`
	Registers uint64    `json:"registers"`
}
