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
			return writeMembers(c.OutOrStdout(), members)
		},
	}
	node.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func writeMembers(w io.Writer, members admin.Members) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tROLE\tALIVE\tLAG\tVERSION\tCERTIFICATE\tAGENTS")
	for _, m := range members.Members {
		alive, lag, expires := "-", "-", "-"
		if m.Alive != nil && m.Lag != nil {
			alive, lag = yes(*m.Alive), strconv.FormatUint(*m.Lag, 10)
		}
		if m.CertificateExpires != nil {
			expires = m.CertificateExpires.Format(time.DateOnly)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", m.Node, m.Role, alive, lag, or(m.Software), expires, or(m.Agents))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "hub %s: %d more may fail\n", members.Hub, members.FailureTolerance)
	return err
}

// or shows something where there is nothing.
func or(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
