package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entente-sync/entente/hub/admin"
)

// answered is what an action prints as JSON, and every verb of the hub that fails:
// then Error is what explain says, otherwise nil.
type answered struct {
	Command string `json:"command"`
	OK      bool   `json:"ok"`
	Summary string `json:"summary"`
	Result  any    `json:"result,omitempty"`
	Error   any    `json:"error"`
}

// say prints what an action did, and what to do next.
func say(c *cobra.Command, asJSON bool, summary, next string, result any) error {
	if asJSON {
		return writeJSON(c.OutOrStdout(), answered{Command: c.CommandPath(), OK: true, Summary: summary, Result: result})
	}
	fmt.Fprintln(c.OutOrStdout(), summary)
	if next != "" {
		fmt.Fprintln(c.OutOrStdout(), "next: "+next)
	}
	return nil
}

// changeFlags are those of every command that changes a hub's members.
type changeFlags struct {
	node nodeFlag
	json bool
	yes  bool
	dry  bool
}

func (f *changeFlags) add(c *cobra.Command) {
	f.node.add(c)
	c.Flags().BoolVar(&f.json, "json", false, "print JSON")
	c.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
}

// agreed asks on a terminal, and demands --yes elsewhere.
func (f *changeFlags) agreed(c *cobra.Command, question string) error {
	if f.yes {
		return nil
	}
	in, ok := c.InOrStdin().(*os.File)
	if ok {
		info, err := in.Stat()
		ok = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	if !ok {
		return &usageError{errors.New("there is no terminal to ask on: add --yes")}
	}
	fmt.Fprint(c.ErrOrStderr(), question+" [y/N] ")
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if a := strings.ToLower(strings.TrimSpace(line)); a != "y" && a != "yes" {
		return &usageError{errors.New("nothing was done")}
	}
	return nil
}

func newHubRemove() *cobra.Command {
	var f changeFlags
	var r admin.Remove
	c := &cobra.Command{
		Use:   "remove NODE",
		Short: "Take a node out of the hub for good",
		Long:  "Take a node out of the hub for good. Its name is not used again. What would be unsafe is refused with a reason.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			r.Node = args[0]
			if r.Force && r.Reason == "" {
				return &usageError{errors.New("--force needs a --reason, which the hub keeps")}
			}
			client, err := f.node.client()
			if err != nil {
				return err
			}
			if err := f.agreed(c, "Remove node "+r.Node+" for good?"); err != nil {
				return err
			}
			if err := client.Remove(c.Context(), r); err != nil {
				return err
			}
			return say(c, f.json, "node "+r.Node+" is removed", "stop it and delete its directory", nil)
		},
	}
	f.add(c)
	c.Flags().BoolVar(&r.Force, "force", false, "insist, where a refusal allows it; needs --reason")
	c.Flags().StringVar(&r.Reason, "reason", "", "why; logged and kept")
	return c
}

func newHubReplace() *cobra.Command {
	var f changeFlags
	var r admin.Replace
	c := &cobra.Command{
		Use:   "replace NODE --by NEW | --cancel",
		Short: "Put a new node in the place of a dead one",
		Long: "Put a new node in the place of another: the new one joins, learns and votes before the old one is removed,\n" +
			"so that no majority is ever in danger. Prints the plan first. --cancel takes it back, as long as NODE is there.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			r.Node = args[0]
			if (r.By != "") == r.Cancel {
				return &usageError{errors.New("either name the node that comes with --by NEW, or take that back with --cancel")}
			}
			client, err := f.node.client()
			if err != nil {
				return err
			}
			r.DryRun = true
			plan, err := client.Replace(c.Context(), r)
			if err != nil {
				return err
			}
			if !f.json {
				for i, step := range plan.Steps {
					fmt.Fprintf(c.OutOrStdout(), "%d. %s\n", i+1, step)
				}
			}
			next := f.node.at("entente hub token create " + r.By + " --replaces " + r.Node)
			if r.Cancel {
				next = ""
			}
			if f.dry || !plan.Joined {
				return say(c, f.json, "nothing is changed yet", next, plan)
			}
			if err := f.agreed(c, "Do that?"); err != nil {
				return err
			}
			r.DryRun = false
			if plan, err = client.Replace(c.Context(), r); err != nil {
				return err
			}
			if r.Cancel {
				return say(c, f.json, "nobody takes the place of "+r.Node, f.node.at("entente hub members"), plan)
			}
			return say(c, f.json, r.By+" takes the place of "+r.Node, f.node.at("entente hub members"), plan)
		},
	}
	f.add(c)
	c.Flags().StringVar(&r.By, "by", "", "the node that comes")
	c.Flags().BoolVar(&r.Cancel, "cancel", false, "let nobody take the place of NODE any more")
	c.Flags().BoolVarP(&f.dry, "dry-run", "n", false, "print the plan alone")
	return c
}

func newHubTransfer() *cobra.Command {
	var f changeFlags
	c := &cobra.Command{
		Use:   "transfer [NODE]",
		Short: "Hand leadership to a node, or to the one that is furthest along",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := f.node.client()
			if err != nil {
				return err
			}
			var t admin.Transfer
			if len(args) > 0 {
				t.Node = args[0]
			}
			done, err := client.Transfer(c.Context(), t)
			if err != nil {
				return err
			}
			summary := done.From + " has handed over to " + done.To
			if done.From == done.To {
				summary = done.From + " leads already"
			}
			return say(c, f.json, summary, f.node.at("entente hub members"), done)
		},
	}
	f.add(c)
	return c
}
