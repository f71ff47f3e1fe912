package cli

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/entente-sync/entente/hub/admin"
)

func newHubMembers() *cobra.Command {
	var node nodeFlag
	var asJSON bool
	c := &cobra.Command{
		Use:   "members",
		Short: "Show the nodes of a hub: who leads, who votes, who learns",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := node.client()
			if err != nil {
				return err
			}
			members, err := client.Members(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(c.OutOrStdout(), members)
			}
			return writeMembers(c.OutOrStdout(), members, node.configuration())
		},
	}
	node.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// writeMembers prints who belongs to the hub, and what to do if it takes nothing;
// file is the configuration of the node that was asked.
func writeMembers(w io.Writer, members admin.Members, file string) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tROLE\tALIVE\tLAG\tVERSION\tCERTIFICATE\tAGENTS\tREPLACES")
	for _, m := range members.Members {
		alive, lag, expires := "-", "-", "-"
		if m.Alive != nil && m.Lag != nil {
			alive, lag = yes(*m.Alive), strconv.FormatUint(*m.Lag, 10)
		}
		if m.CertificateExpires != nil {
			expires = m.CertificateExpires.Format(time.DateOnly)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", m.Node, m.Role, alive, lag, or(m.Software), expires, or(m.Agents), or(m.Replaces))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	switch tolerance := members.FailureTolerance; {
	case members.Leader == "":
		_, err := fmt.Fprintf(w, "hub %s: no leader known: the hub takes no writes\nnext: start the other nodes, else entente hub recover --dry-run -f %s\n",
			members.Hub, file)
		return err
	case tolerance == nil:
		_, err := fmt.Fprintf(w, "hub %s: %s leads and does not answer %s: how many more may fail is not known\nnext: try again, or ask at %s\n",
			members.Hub, members.Leader, members.Node, members.Leader)
		return err
	default:
		_, err := fmt.Fprintf(w, "hub %s: %d more may fail\n", members.Hub, *tolerance)
		return err
	}
}

// or shows something where there is nothing.
func or(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
