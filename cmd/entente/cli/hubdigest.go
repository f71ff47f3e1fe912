package cli

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/entente-sync/entente/hub/admin"
)

func newHubDigest() *cobra.Command {
	var node nodeFlag
	var asJSON bool
	c := &cobra.Command{
		Use:   "digest",
		Short: "Sum up what a node holds of each pact, to compare it",
		Long: "Asks one node what it has applied. The table is the same on two nodes that hold\n" +
			"the same, and before and after a restore whose agents brought back what was\n" +
			"missing; --json adds what may differ then: epoch, entry and heads.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := node.client()
			if err != nil {
				return err
			}
			digests, err := client.Digests(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(c.OutOrStdout(), digests)
			}
			return writeDigests(c.OutOrStdout(), &digests)
		},
	}
	node.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func writeDigests(w io.Writer, d *admin.Digests) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "PACT\tVERSION\tREGISTERS\tDIGEST")
	for _, p := range d.Pacts {
		fmt.Fprintf(t, "%s\t%d\t%d\t%.16s\n", p.Pact, p.Version, p.Registers, p.Digest) // cut as a backup's is
	}
	return t.Flush()
}
