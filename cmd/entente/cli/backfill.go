package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/entente-sync/entente/agent/admin"
)

func newBackfill() *cobra.Command {
	c := &cobra.Command{
		Use:   "backfill",
		Short: "Bring records that a system has had for long into a pact",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newBackfillStart(), newBackfillStatus(),
		newJobVerb("pause", "Stop for a while; nothing is forgotten", "is paused", "entente backfill resume "),
		newJobVerb("resume", "Go on where it was", "goes on", "entente backfill status "),
		newJobVerb("cancel", "End it for good; what it did stays", "is cancelled", "entente backfill status "))
	return c
}

// jobFlags are those of verbs that begin a job.
type jobFlags struct {
	verbFlags
	rate int
	dry  bool
}

func (f *jobFlags) add(c *cobra.Command) {
	f.verbFlags.add(c)
	c.Flags().IntVar(&f.rate, "rate", 0, "records a second to look at, up to 1000 (0: as fast as live work lets it)")
	c.Flags().BoolVarP(&f.dry, "dry-run", "n", false, "read and count; write nothing anywhere")
}

// rateMax is what the core takes.
const rateMax = 1000

// start begins a job and says how to follow it.
func (f *jobFlags) start(c *cobra.Command, j admin.JobStart) error {
	if f.rate < 0 || f.rate > rateMax {
		return &usageError{fmt.Errorf("--rate: %d is not between 0 and %d", f.rate, rateMax)}
	}
	j.Rate, j.DryRun, j.By = uint64(f.rate), f.dry, whoami()
	client, err := f.client()
	if err != nil {
		return err
	}
	jobs, err := client.StartJob(c.Context(), j)
	if err != nil {
		return f.failed(c, err)
	}
	summary := fmt.Sprintf("the %s of %s begins", j.Kind, j.Name)
	if j.DryRun {
		summary = fmt.Sprintf("a dry run of the %s of %s begins; nothing is written", j.Kind, j.Name)
	}
	return say(c, f.json, summary, "entente backfill status", jobs)
}

func newBackfillStart() *cobra.Command {
	var f jobFlags
	j := admin.JobStart{Kind: "backfill"}
	var since string
	c := &cobra.Command{
		Use:   "start SYSTEM",
		Short: "Look at every record that a system lists, behind the live edits",
		Long: "Look at every record that a system lists, from its beginning, and let in what the binding lets in. A record that\n" +
			"the pact knows already is tied to it and not made again. Live edits go first, and a restart goes on where it was.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			j.Name = args[0]
			if since != "" {
				at, err := sinceOf(since, time.Now())
				if err != nil {
					return &usageError{err}
				}
				j.Since = &at
			}
			return f.start(c, j)
		},
	}
	f.add(c)
	c.Flags().StringVar(&since, "since", "", "leave out records that last changed before: a date (2026-01-31), a time (RFC 3339) or an age (720h)")
	c.Flags().StringVar(&j.Filter, "filter", "", `leave out records for which this CEL expression over the local record is not true: it.status == "New"`)
	return c
}

// sinceOf reads a date, a time or an age.
func sinceOf(text string, now time.Time) (time.Time, error) {
	if age, err := time.ParseDuration(text); err == nil && age > 0 {
		return now.Add(-age), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("--since: %q is no date (2026-01-31), time (2026-01-31T08:00:00Z) or age (720h)", text)
}

func newResync() *cobra.Command {
	var f jobFlags
	j := admin.JobStart{Kind: "resync"}
	c := &cobra.Command{
		Use:   "resync SYSTEM|PACT [RECORD]",
		Short: "Look at what is shared again, on both ends, and mend what differs; deletes nothing",
		Long: "Read the hub's feed again from its beginning, and every linked record of the system, and say or write only what\n" +
			"differs. Nothing is ever deleted by it. With RECORD, a record id or a local key, only that one is read.",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			j.Name = args[0]
			if len(args) > 1 {
				j.Record = args[1]
			}
			return f.start(c, j)
		},
	}
	f.add(c)
	return c
}

func newBackfillStatus() *cobra.Command {
	var sockets socketsFlag
	var asJSON bool
	c := &cobra.Command{
		Use:   "status [SYSTEM]",
		Short: "Show how far backfills and resyncs are, and what they wait for",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			clients, err := sockets.clients()
			if err != nil {
				return err
			}
			each, err := collect(c.Context(), clients, (*admin.Client).Jobs)
			if err != nil {
				return err
			}
			all := []admin.Job{}
			for _, some := range each {
				for i := range some {
					if len(args) == 0 || some[i].System == args[0] {
						all = append(all, some[i])
					}
				}
			}
			if asJSON {
				return writeJSON(c.OutOrStdout(), all)
			}
			return writeJobs(c.OutOrStdout(), all)
		},
	}
	sockets.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func writeJobs(w io.Writer, all []admin.Job) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "AT\tSYSTEM\tKIND\tSTATE\tDONE\tPER SECOND\tETA\tENTERED\tCONNECTED\tCHANGED\tHELD\tUNCHANGED\tLEFT OUT\tFAILED\tWAITS FOR")
	for i := range all {
		j := &all[i]
		state := j.State
		if j.DryRun {
			state += " (dry run)"
		}
		total := fmt.Sprint(j.Total)
		if j.Listing {
			total += "+"
		}
		eta := "-"
		if j.ETASeconds != nil {
			eta = (time.Duration(*j.ETASeconds) * time.Second).String()
		}
		k := &j.Count
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d/%s\t%.1f\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", j.Here, j.System, j.Kind, state, j.Done, total, j.PerSecond, eta,
			k.Entered, k.Connected, k.Changed, k.Held, k.Unchanged, k.Left, k.Failed, waitsFor(j))
	}
	return t.Flush()
}

func waitsFor(j *admin.Job) string {
	if j.Waits == "" {
		return "-"
	}
	if j.Until == nil {
		return j.Waits
	}
	return j.Waits + " until " + j.Until.Format(time.TimeOnly)
}

// newJobVerb is a verb that speaks to a job.
func newJobVerb(verb, short, did, next string) *cobra.Command {
	var f verbFlags
	c := &cobra.Command{
		Use:   verb + " SYSTEM",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if strings.TrimSpace(args[0]) == "" {
				return &usageError{errors.New("name the system")}
			}
			client, err := f.client()
			if err != nil {
				return err
			}
			jobs, err := client.TellJob(c.Context(), admin.JobTell{System: args[0], Verb: verb, By: whoami(), Reason: f.reason})
			if err != nil {
				return f.failed(c, err)
			}
			return say(c, f.json, fmt.Sprintf("the job of %s %s", args[0], did), next+args[0], jobs)
		},
	}
	f.add(c)
	f.addReason(c)
	return c
}
