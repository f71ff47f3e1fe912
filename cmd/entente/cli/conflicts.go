package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/entente-sync/entente/agent/admin"
)

func newConflicts() *cobra.Command {
	c := &cobra.Command{
		Use:   "conflicts",
		Short: "List edits that lost against another, and look at them",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newConflictsList(), newConflictsShow())
	return c
}

func newConflictsList() *cobra.Command {
	var sockets socketsFlag
	var asked admin.ConflictsAsked
	var asJSON bool
	c := &cobra.Command{
		Use:   "ls",
		Short: "List the edits that lost and that nobody has answered",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := conflictsOf(c.Context(), &sockets, asked)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(c.OutOrStdout(), all)
			}
			return writeConflicts(c.OutOrStdout(), all)
		},
	}
	sockets.add(c)
	c.Flags().StringVar(&asked.Pact, "pact", "", "of one pact only")
	c.Flags().BoolVar(&asked.All, "all", false, "also those that were answered")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func newConflictsShow() *cobra.Command {
	var sockets socketsFlag
	asked := admin.ConflictsAsked{All: true}
	var asJSON bool
	c := &cobra.Command{
		Use:   "show RECORD [FIELD]",
		Short: "Show both versions of each edit of a record that lost",
		Long:  "Show both versions of each edit of a record that lost. RECORD is a record id, or the local key of a record.",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			asked.Record = args[0]
			if len(args) > 1 {
				asked.Field = args[1]
			}
			all, err := conflictsOf(c.Context(), &sockets, asked)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(c.OutOrStdout(), all)
			}
			return showConflicts(c.OutOrStdout(), all)
		},
	}
	sockets.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func conflictsOf(ctx context.Context, sockets *socketsFlag, asked admin.ConflictsAsked) ([]admin.Conflict, error) {
	clients, err := sockets.clients()
	if err != nil {
		return nil, err
	}
	each, err := collect(ctx, clients, func(client *admin.Client, ctx context.Context) ([]admin.Conflict, error) {
		return client.Conflicts(ctx, asked)
	})
	all := []admin.Conflict{}
	for _, some := range each {
		all = append(all, some...)
	}
	return all, err
}

func writeConflicts(w io.Writer, all []admin.Conflict) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "AT\tPACT\tRECORD\tKEY\tFIELD\tSTATE\tLOST BY\tLOST AT\tLOST VALUE\tNOW BY\tNOW VALUE\tOP")
	for i := range all {
		k := &all[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.Here, k.Pact, k.Record, keysOf(k.Keys), k.Field, k.State,
			by(k.Lost), k.Lost.At.Format(time.DateTime), clip(k.Lost.Value), by(k.Current), clip(k.Current.Value), k.Lost.Op)
	}
	if len(all) > 0 {
		fmt.Fprintln(t, "next: entente conflicts show RECORD; to put a lost value back: entente restore-value RECORD FIELD --op OP")
	}
	return t.Flush()
}

func by(v admin.Version) string { return v.Site + "/" + v.Agent }

// keysOf lists local keys by system.
func keysOf(keys map[string]string) string {
	var out []string
	for _, system := range sortedKeys(keys) {
		out = append(out, system+":"+keys[system])
	}
	return strings.Join(out, ",")
}

// cellMax bounds a value in a table, in characters.
const cellMax = 24

func clip(v *string) string {
	if v == nil {
		return "-"
	}
	r := []rune(printable(strings.ReplaceAll(*v, "\n", " ")))
	if len(r) > cellMax {
		r = append(r[:cellMax-1], '…')
	}
	return string(r)
}

// printable keeps a partner's text from speaking to a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, strings.ReplaceAll(text, "\r\n", "\n"))
}

func showConflicts(w io.Writer, all []admin.Conflict) error {
	for i := range all {
		k := &all[i]
		fmt.Fprintf(w, "%s: record %s (%s) of pact %s, field %s: %s\n", k.Here, k.Record, keysOf(k.Keys), k.Pact, k.Field, k.State)
		writeVersion(w, "lost", k.Lost)
		writeVersion(w, "won", k.Won)
		if k.Current.Op != k.Won.Op {
			writeVersion(w, "now", k.Current)
		}
		if k.Answered != nil {
			writeVersion(w, "answered", *k.Answered)
		}
		if k.State == "open" {
			fmt.Fprintf(w, "  next: entente restore-value %s %s --op %s\n", k.Record, k.Field, k.Lost.Op)
		}
	}
	if len(all) == 0 {
		fmt.Fprintln(w, "no edit of that record lost")
	}
	return nil
}

func writeVersion(w io.Writer, what string, v admin.Version) {
	value := "(replaced since: not kept here)"
	if v.Value != nil {
		value = strings.ReplaceAll(printable(*v.Value), "\n", "\n           ")
	}
	fmt.Fprintf(w, "  %-8s %s  by %s  op %s\n           %s\n", what, v.At.Format(time.DateTime), by(v), v.Op, value)
}

func newRestoreValue() *cobra.Command {
	var f verbFlags
	var r admin.Restore
	c := &cobra.Command{
		Use:   "restore-value RECORD FIELD --op OP",
		Short: "Put the value of an edit that lost back",
		Long: "Put the value of an edit that lost back: it is written again as a new edit on top of what stands now,\n" +
			"on every side, and the conflict is answered. Doing it twice does nothing more.",
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			r.Record, r.Field, r.By, r.Reason = args[0], args[1], whoami(), f.reason
			client, err := f.client()
			if err != nil {
				return err
			}
			done, err := client.Restore(c.Context(), r)
			if err != nil {
				return f.failed(c, err)
			}
			summary := fmt.Sprintf("%s of record %s has the lost value again (op %s)", done.Field, done.Record, done.Op)
			if done.Already {
				summary = fmt.Sprintf("%s of record %s has had the lost value again since op %s; nothing more was done", done.Field, done.Record, done.Op)
			}
			return say(c, f.json, summary, "entente conflicts show "+done.Record, done)
		},
	}
	f.add(c)
	f.addReason(c)
	c.Flags().StringVar(&r.Op, "op", "", "the edit that lost, as `entente conflicts ls` names it")
	c.Flags().StringVar(&r.Pact, "pact", "", "the record's pact, where its name is not enough")
	mustMark(c, "op")
	return c
}
