package cli

import (
	"encoding/hex"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/entente-sync/entente/hub/backup"
	"github.com/entente-sync/entente/hub/command"
)

// backupView is a backup as the commands show it.
type backupView struct {
	Hub      string     `json:"hub"`
	Epoch    string     `json:"epoch"`
	Index    uint64     `json:"index"`
	Term     uint64     `json:"term"`
	Node     string     `json:"node"`
	Software string     `json:"software"`
	Created  time.Time  `json:"created"`
	Voters   []string   `json:"voters"`
	Sealed   bool       `json:"sealed"`
	Pacts    []pactView `json:"pacts,omitempty"`
	// Of a verified one.
	Registers uint64 `json:"registers,omitempty"`
	Authors   uint64 `json:"authors,omitempty"`
	History   uint64 `json:"history,omitempty"`
	Bytes     int64  `json:"bytes,omitempty"`
	SHA256    string `json:"sha256,omitempty"`
}

// pactView is one pact of a backup.
type pactView struct {
	Pact      string `json:"pact"`
	Version   uint32 `json:"version"`
	Head      uint64 `json:"head"`
	Registers uint64 `json:"registers"`
	Authors   uint64 `json:"authors"`
	Digest    string `json:"digest"`
}

func viewHeader(h *backup.Header) *backupView {
	return &backupView{
		Hub: h.Hub.String(), Epoch: h.Epoch.String(), Index: h.Index, Term: h.Term, Node: h.Node, Software: h.Software,
		Created: h.Created, Voters: h.Voters, Sealed: h.Sealed,
	}
}

func viewReport(r *backup.Report) *backupView {
	v := viewHeader(&r.Header)
	v.Pacts, v.Registers, v.Authors, v.History = viewPacts(r.Meta.Pacts), r.Registers, r.Authors, r.History
	v.Bytes, v.SHA256 = r.Bytes, hex.EncodeToString(r.SHA256[:])
	return v
}

func viewPacts(digests []command.PactDigest) []pactView {
	out := []pactView{}
	for _, d := range digests {
		sum := d.Registers.Bytes()
		out = append(out, pactView{
			Pact: string(d.Pact), Version: d.Version, Head: uint64(d.Head), Registers: d.Registers.Count(),
			Authors: d.Authors.Count, Digest: hex.EncodeToString(sum[:8]),
		})
	}
	return out
}

// write shows the view. The digest is cut: it tells two states apart, and the
// whole of it is what verify compares.
func (v *backupView) write(w io.Writer, asJSON bool) error {
	if asJSON {
		return writeJSON(w, v)
	}
	fmt.Fprintf(w, "hub      %s, epoch %s\n", v.Hub, v.Epoch)
	fmt.Fprintf(w, "entry    %d of term %d\n", v.Index, v.Term)
	fmt.Fprintf(w, "made     %s by node %s (%s)\n", v.Created.Format(time.RFC3339), v.Node, v.Software)
	fmt.Fprintf(w, "voters   %v\n", v.Voters)
	if v.Sealed && v.Pacts == nil {
		fmt.Fprintln(w, "sealed   yes: pass --identity FILE to see the pacts")
		return nil
	}
	fmt.Fprintf(w, "sealed   %s\n", yes(v.Sealed))
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "PACT\tVERSION\tHEAD\tREGISTERS\tAUTHORS\tDIGEST")
	for _, p := range v.Pacts {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%s\n", p.Pact, p.Version, p.Head, p.Registers, p.Authors, p.Digest)
	}
	return t.Flush()
}

func writeSaved(c *cobra.Command, path string, r *backup.Report, asJSON bool) error {
	view := viewReport(r)
	if asJSON {
		return writeJSON(c.OutOrStdout(), view)
	}
	if err := view.write(c.OutOrStdout(), false); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "saved and read back: %s, %d bytes\nnext: copy it off this machine\n", path, r.Bytes)
	return err
}

func writeVerified(c *cobra.Command, r *backup.Report, asJSON bool) error {
	view := viewReport(r)
	if asJSON {
		return writeJSON(c.OutOrStdout(), view)
	}
	if err := view.write(c.OutOrStdout(), false); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.OutOrStdout(),
		"verified: header, %d registers and %d authors by checksum, count and SHA-256 of the file, digests of %d pacts\n"+
			"history  %d versions\nsha256   %s\n",
		r.Registers, r.Authors, r.Pacts, r.History, view.SHA256)
	return err
}

// restoredView is what a restore made.
type restoredView struct {
	Dir      string     `json:"dir"`
	Node     string     `json:"node"`
	Hub      string     `json:"hub"`
	Epoch    string     `json:"epoch"`
	OldEpoch string     `json:"oldEpoch"`
	Index    uint64     `json:"index"`
	Pacts    []pactView `json:"pacts"`
}

func writeRestored(c *cobra.Command, to *backup.Target, r *backup.Restored, asJSON bool) error {
	view := restoredView{
		Dir: to.Dir, Node: to.Node, Hub: to.Hub.String(), Epoch: r.NewEpoch.String(), OldEpoch: r.Epoch.String(),
		Index: r.NewIndex, Pacts: viewPacts(r.Pacts),
	}
	if asJSON {
		return writeJSON(c.OutOrStdout(), view)
	}
	w := c.OutOrStdout()
	fmt.Fprintf(w, "restored into %s: hub %s as node %s alone, at entry %d\n", view.Dir, view.Hub, view.Node, view.Index)
	fmt.Fprintf(w, "epoch    %s, in place of %s: agents see that the hub went back, and offer what it lacks\n", view.Epoch, view.OldEpoch)
	if to.Hub != r.Hub {
		fmt.Fprintf(w, "new hub  this is a copy of hub %s, whose agents do not belong to it\n", r.Hub)
	}
	_, err := fmt.Fprintln(w, "next: start this node; then let the other nodes join it, with empty directories")
	return err
}
