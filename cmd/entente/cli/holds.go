package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/entente-sync/entente/agent/admin"
)

func newHolds() *cobra.Command {
	c := newHoldsList("holds", "List what waits for a person, by cause")
	c.AddCommand(newHoldsList("ls", "List what waits for a person, by cause"), newHoldsShow(), newRelease())
	c.AddCommand(
		newHoldVerb("retry", "Try again what a hold stopped: its cause is mended",
			"Try again what holds stopped, once their cause is mended. What is stopped again is held again; nothing is lost.", "are tried again"),
		newHoldVerb("skip", "Give up what a hold stopped",
			"Give up what holds stopped. A version from elsewhere is left out until a newer one comes; a local edit stays at home\n"+
				"until the field is written from elsewhere, or edited again. Whole records cannot be skipped.", "are skipped"),
		newHoldVerb("ack", "Say that a hold is known: it asks nobody any more",
			"Say that holds are known: they go on, but no longer count as waiting. Another value that is held is a new hold.", "are known"))
	return c
}

func newHoldsList(use, short string) *cobra.Command {
	var sockets socketsFlag
	var asJSON bool
	c := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			clients, err := sockets.clients()
			if err != nil {
				return err
			}
			each, err := collect(c.Context(), clients, (*admin.Client).Causes)
			if err != nil {
				return err
			}
			all := []admin.Cause{}
			for _, some := range each {
				all = append(all, some...)
			}
			if asJSON {
				return writeJSON(c.OutOrStdout(), all)
			}
			return writeCauses(c.OutOrStdout(), all)
		},
	}
	sockets.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func writeCauses(w io.Writer, all []admin.Cause) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "AT\tSYSTEM\tCODE\tFIELD\tSTOPS\tHOLDS\tWAITING\tOLDEST\tEXAMPLE\tMESSAGE")
	for i := range all {
		k := &all[i]
		example := k.Example.Key
		if example == "" {
			example = k.Example.Record
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n", k.Here, k.System, k.Code, orDash(k.Field), k.Stops, k.Holds, k.Waiting,
			k.Oldest.Format(time.DateTime), example, oneLine(k.Example.Message))
	}
	if len(all) > 0 {
		fmt.Fprintln(t, "next: entente holds show --code CODE; once the cause is mended: entente holds retry --code CODE")
	}
	return t.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func oneLine(s string) string { return printable(strings.ReplaceAll(s, "\n", " ")) }

// pickFlags choose holds.
type pickFlags struct{ pick admin.HoldsPicked }

func (f *pickFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.pick.System, "system", "", "of one system")
	c.Flags().StringVar(&f.pick.Code, "code", "", "with one code")
	c.Flags().StringVar(&f.pick.Field, "field", "", "of one field")
	c.Flags().StringVar(&f.pick.Record, "record", "", "of one record: its id or local key")
}

func newHoldsShow() *cobra.Command {
	var sockets socketsFlag
	var pick pickFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "show",
		Short: "List holds one by one",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			clients, err := sockets.clients()
			if err != nil {
				return err
			}
			each, err := collect(c.Context(), clients, func(client *admin.Client, ctx context.Context) ([]admin.Hold, error) {
				return client.HoldsOf(ctx, pick.pick)
			})
			if err != nil {
				return err
			}
			holds := []admin.Hold{}
			for _, h := range each {
				holds = append(holds, h...)
			}
			if asJSON {
				return writeJSON(c.OutOrStdout(), holds)
			}
			return writeHolds(c.OutOrStdout(), holds)
		},
	}
	sockets.add(c)
	pick.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func writeHolds(w io.Writer, holds []admin.Hold) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "SYSTEM\tKEY\tFIELD\tCODE\tSTOPS\tSINCE\tRECORD\tWORD\tMESSAGE")
	for i := range holds {
		h := &holds[i]
		word := "-"
		switch {
		case h.Word != nil:
			word = h.Word.Verb + " by " + orDash(oneLine(h.Word.By))
		case h.Keep:
			word = "keep"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", h.System, orDash(h.Key), orDash(h.Field), h.Code, h.Stops,
			h.Since.Format(time.DateTime), h.Record, word, oneLine(h.Message))
	}
	return t.Flush()
}

// newHoldVerb is a verb that says a word on holds; did is what became of them.
func newHoldVerb(verb, short, long, did string) *cobra.Command {
	var f verbFlags
	var pick pickFlags
	var all, dry bool
	c := &cobra.Command{
		Use:   verb,
		Short: short,
		Long:  long,
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if pick.pick == (admin.HoldsPicked{}) && !all {
				return &usageError{errors.New("say which: --code, --field, --record or --system, or --all of them")}
			}
			client, err := f.client()
			if err != nil {
				return err
			}
			done, err := handleHolds(c.Context(), client, admin.HoldVerb{Verb: verb, Pick: pick.pick, DryRun: dry, By: whoami(), Reason: f.reason})
			if err != nil {
				return f.failed(c, err)
			}
			if dry {
				return say(c, f.json, fmt.Sprintf("%d holds fit; nothing was done", done.Picked), "", done)
			}
			summary := fmt.Sprintf("%d holds %s", done.Done, did)
			if done.Refused > 0 {
				summary += fmt.Sprintf("; %d are not, since they stop whole records", done.Refused)
			}
			return say(c, f.json, summary, "entente holds ls", done)
		},
	}
	f.add(c)
	f.addReason(c)
	pick.add(c)
	c.Flags().BoolVar(&all, "all", false, "every hold of the agent")
	c.Flags().BoolVarP(&dry, "dry-run", "n", false, "count the holds alone")
	return c
}

// handleHolds goes through all holds that fit, as many calls as that takes.
func handleHolds(ctx context.Context, client *admin.Client, v admin.HoldVerb) (sum admin.HoldsHandled, err error) {
	for {
		done, err := client.HandleHolds(ctx, v)
		if err != nil {
			return sum, err
		}
		sum.Picked, sum.Done, sum.Refused = sum.Picked+done.Picked, sum.Done+done.Done, sum.Refused+done.Refused
		if v.After = done.Next; v.After == "" {
			return sum, nil
		}
	}
}

func newRelease() *cobra.Command {
	var socket string
	var r admin.Release
	c := &cobra.Command{
		Use:    "release SYSTEM RECORD [FIELD]",
		Short:  "Say that what one hold named is mended; holds retry says it of many",
		Hidden: true,
		Args:   cobra.RangeArgs(2, 3),
		RunE: func(c *cobra.Command, args []string) error {
			r.System, r.Record = args[0], args[1]
			if len(args) == 3 {
				r.Field = args[2]
			}
			if err := admin.NewClient(socket).Release(c.Context(), r); err != nil {
				return &environmentError{err}
			}
			return nil
		},
	}
	c.Flags().StringVar(&socket, "socket", "", "admin socket of the agent")
	mustMark(c, "socket")
	return c
}
