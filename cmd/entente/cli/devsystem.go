package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entente-sync/entente/cmd/entente/dev"
	"github.com/entente-sync/entente/connectors"
)

func newDevSystem() *cobra.Command {
	var address, tokenFile string
	c := &cobra.Command{
		Use:   "system acme|globex",
		Short: "Run one company's sandbox ticket system alone, for an agent of its own",
		Long: "Runs an empty ticket system on loopback, with a page for people and an API for an\n" +
			"agent with the token. It forgets everything when it ends.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			text, err := readSecret(c, tokenFile)
			if err != nil {
				return err
			}
			token := strings.TrimSpace(text)
			if token == "" {
				return &usageError{errors.New("--token-file: the file is empty")}
			}
			s, err := dev.OpenSystem(args[0], address, connectors.NewSecret(token))
			if errors.Is(err, dev.ErrSystem) {
				return &usageError{err}
			}
			if err != nil {
				return &environmentError{err}
			}
			fmt.Fprintln(c.OutOrStdout(), s.URL())
			return s.Run(c.Context())
		},
	}
	c.Flags().StringVar(&address, "listen", "127.0.0.1:0", "place on loopback to listen at")
	c.Flags().StringVar(&tokenFile, "token-file", "", "file with the agent's token; - reads it from the standard input")
	mustMark(c, "token-file")
	return c
}
