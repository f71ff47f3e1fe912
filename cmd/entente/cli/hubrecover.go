package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/entente-sync/entente/cmd/entente/config"
	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/hub/backup"
)

// recoverFlags say what is recovered, and that it is meant.
type recoverFlags struct {
	file, lose, why string
	dry, json       bool
}

func newHubRecover() *cobra.Command {
	var f recoverFlags
	c := &cobra.Command{
		Use:   "recover -f FILE --lose-others HUB_ID --reason TEXT",
		Short: "Go on with one node after a majority of the hub is lost for good",
		Long: "Makes the stopped node of the configuration the only member of its hub, in a new\n" +
			"epoch. Everything in its directory stays in the hub, what its log holds beyond\n" +
			"what it knows to be committed too. What only the lost nodes had is gone from the\n" +
			"hub; agents bring back what they hold of it. The lost nodes' names are removed for\n" +
			"good. If one of them, or its disk, can be had, start it instead: then nothing is\n" +
			"lost. The old directories of the lost nodes must never run again.\n\n" +
			"--dry-run looks, and changes nothing. A recovery that was cut short is completed by\n" +
			"running it again.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	c.Flags().StringVarP(&f.file, "file", "f", "", "the node's configuration")
	mustMark(c, "file")
	c.Flags().StringVar(&f.lose, "lose-others", "", "the hub's id, typed by somebody who knows that the other nodes are lost")
	c.Flags().StringVar(&f.why, "reason", "", "why; kept with the lost nodes' names")
	c.Flags().BoolVarP(&f.dry, "dry-run", "n", false, "only say what the node holds")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON")
	return c
}

func (f *recoverFlags) run(c *cobra.Command) error {
	loaded, err := config.LoadHub(f.file, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		return err
	}
	target, err := hub.Target(loaded.Config)
	if err != nil {
		return err
	}
	if !f.dry && f.lose != target.Hub.String() {
		return &backup.Fault{Code: backup.CodeUnasked, Err: fmt.Errorf("this ends hub %s as it was; nothing was done", target.Hub)}
	}
	if !f.dry && strings.TrimSpace(f.why) == "" {
		return &usageError{errors.New("--reason is missing: why are the other nodes lost?")}
	}
	runs := func(node, address string) error {
		return nobodyRuns(c.Context(), []hub.Peer{{Node: node, Nodes: address}})
	}
	if f.dry { // it harms nobody who runs
		runs = nil
	} else if err := nobodyElseRuns(c.Context(), loaded.Config.Peers, target.Node); err != nil {
		return err
	}
	done, err := backup.Recover(&backup.Rescue{
		Dir: target.Dir, Hub: target.Hub, Node: target.Node, DryRun: f.dry, Why: f.why, Runs: runs,
		Random: target.Random, Now: time.Now, MemTableBytes: target.MemTableBytes,
	})
	if err != nil {
		return err
	}
	return f.write(c, &target, &done)
}

// nobodyElseRuns is nobodyRuns without the node itself: whether that runs, its
// directory says.
func nobodyElseRuns(ctx context.Context, peers []hub.Peer, self string) error {
	for _, p := range peers {
		if p.Node == self {
			continue
		}
		if err := nobodyRuns(ctx, []hub.Peer{p}); err != nil {
			return err
		}
	}
	return nil
}

// rescuedView is what a recovery found and made.
type rescuedView struct {
	Dir      string     `json:"dir"`
	Node     string     `json:"node"`
	Hub      string     `json:"hub"`
	DryRun   bool       `json:"dryRun"`
	Finished bool       `json:"finished"`
	Members  []string   `json:"members"`
	OldEpoch string     `json:"oldEpoch,omitempty"`
	Certain  uint64     `json:"committedIndex"`
	Last     uint64     `json:"lastIndex"`
	LastTerm uint64     `json:"lastTerm"`
	Behind   int        `json:"entriesInDoubt"`
	Pacts    []pactView `json:"pacts"`
	Epoch    string     `json:"epoch,omitempty"`
	Index    uint64     `json:"index,omitempty"`
	Kept     string     `json:"kept,omitempty"`
}

func (f *recoverFlags) write(c *cobra.Command, to *backup.Target, r *backup.Rescued) error {
	view := rescuedView{
		Dir: to.Dir, Node: to.Node, Hub: to.Hub.String(), DryRun: f.dry, Finished: r.Finished,
		Certain: r.Certain, Last: r.Last, LastTerm: r.LastTerm, Behind: r.Behind, Pacts: viewPacts(r.Pacts), Index: r.NewIndex, Kept: r.Kept,
	}
	for _, m := range r.Members {
		view.Members = append(view.Members, m.Node)
	}
	if r.Epoch != 0 {
		view.OldEpoch = r.Epoch.String()
	}
	if r.NewEpoch != 0 {
		view.Epoch = r.NewEpoch.String()
	}
	if f.json {
		return writeJSON(c.OutOrStdout(), view)
	}
	w := c.OutOrStdout()
	const next = "next: start this node; then let new nodes join it, under new names"
	if r.Finished {
		_, err := fmt.Fprintf(w, "completed: a recovery of %s had been cut short\n%s\n", view.Dir, next)
		return err
	}
	fmt.Fprintf(w, "hub      %s, node %s in %s\n", view.Hub, view.Node, view.Dir)
	fmt.Fprintf(w, "members  %s\n", strings.Join(view.Members, " "))
	fmt.Fprintf(w, "holds    committed up to entry %d at least; %d entries behind it, up to %d of term %d, which the others may have acknowledged or not: they stay\n",
		view.Certain, view.Behind, view.Last, view.LastTerm)
	fmt.Fprintln(w, "lost     what the other nodes acknowledged behind that, unless agents hold it: they bring it back")
	if f.dry {
		_, err := fmt.Fprintf(w, "nothing was changed\nnext: entente hub recover -f %s --lose-others %s --reason TEXT\n", f.file, view.Hub)
		return err
	}
	fmt.Fprintf(w, "epoch    %s, in place of %s, from entry %d on\n", view.Epoch, view.OldEpoch, view.Index)
	fmt.Fprintf(w, "kept     the old content, in %s of that directory: delete it when all is well\n", view.Kept)
	_, err := fmt.Fprintln(w, next)
	return err
}
