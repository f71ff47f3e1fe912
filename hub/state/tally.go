package state

import "github.com/entente-sync/entente/hub/command"

// tally compares what this replica remembers of an audit with what the majority
// does. It looks at digests and not at names: a node that was rebuilt since is
// not its predecessor. It changes nothing: replicas that differ must not differ
// more.
func (m *Machine) tally(c *command.Tally) CommandResult {
	verdict, majority := c.Verdict()
	res := CommandResult{Verdict: verdict, Compared: c.Index != 0 && c.Index == m.auditIndex}
	res.Minority = res.Compared && verdict == command.VerdictAgreed && command.DigestOf(m.auditPacts) != majority
	return res
}
