package dev

import (
	"fmt"
	"io"
	"path/filepath"
)

// Describe tells a person what runs where, and what to try.
func (w *World) Describe(out io.Writer) error {
	a, g := w.Sides[0], w.Sides[1]
	_, err := fmt.Fprintf(out, `Two companies, a hub between them, all in this process.

  %-7s %s %s
  %-7s %s %s
  hub     %s (TLS)
  metrics %s
  admin   %s
          %s
  files   %s: the pact and both bindings, to read
          %s

Three things to try:
  1. Change the status of a ticket at %s: it changes at %s within a second.
  2. Write a comment at %s, then one marked internal: only the first one crosses.
  3. Set a priority to Urgent at %s, which its binding does not map: that field is
     held, the rest flows. In another terminal: entente holds; entente status

People's API, as %s:
  curl -H 'Authorization: Bearer %s' '%s/api/v1/tickets?limit=5'

Ctrl-C stops it.
`,
		a.name, a.system, a.URL, g.name, g.system, g.URL, w.HubAt, w.Metrics, a.Socket, g.Socket,
		filepath.Join(w.Dir, pactFile), filepath.Join(w.Dir, a.bindings)+" "+filepath.Join(w.Dir, g.bindings),
		a.URL, g.URL, g.URL, a.URL, a.people[0], a.Token, a.URL)
	return err
}
