package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/entente-sync/entente/agent/admin"
)

// person fills in a form of a sandbox's pages: person URL WHO KEY FIELD=VALUE...
func person(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: person URL WHO KEY FIELD=VALUE...")
	}
	form := url.Values{"as": {args[1]}}
	for _, pair := range args[3:] {
		name, text, _ := strings.Cut(pair, "=")
		form.Set("f-"+name, text)
	}
	resp, err := http.PostForm(args[0]+"/tickets/"+args[2], form)
	ts.Check(err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		ts.Fatalf("the form was answered with HTTP %d", resp.StatusCode)
	}
}

// ticket finds a ticket by its title: ticket VAR URL TITLE
func ticket(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: ticket VAR URL TITLE")
	}
	m := regexp.MustCompile(`href="/tickets/([^"]+)">` + regexp.QuoteMeta(args[2])).FindStringSubmatch(page(ts, args[1]))
	if m == nil {
		ts.Fatalf("no ticket is called %q", args[2])
	}
	ts.Setenv(args[0], m[1])
}

// shown waits until a page shows a text, or with ! fails at once if it does:
// shown URL TEXT
func shown(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] shown URL TEXT")
	}
	for deadline := time.Now().Add(awaitMax); strings.Contains(page(ts, args[0]), args[1]) == neg; time.Sleep(50 * time.Millisecond) {
		if neg || time.Now().After(deadline) {
			ts.Fatalf("%s shows %q: %v", args[0], args[1], !neg)
		}
	}
}

func page(ts *testscript.TestScript, address string) string {
	resp, err := http.Get(address)
	ts.Check(err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	ts.Check(err)
	return string(b)
}

// poke makes agents list now: poke SOCKET...
func poke(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: poke SOCKET...")
	}
	for _, path := range args {
		ts.Check(admin.NewClient(path).Poll(context.Background()))
	}
}

// grab keeps what the last command printed: grab VAR REGEXP, with one group
func grab(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: grab VAR REGEXP")
	}
	m := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("nothing that matches %q", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// freePorts names places on loopback at which nobody listens now.
func freePorts(env *testscript.Env, names ...string) error {
	for _, name := range names {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		env.Setenv(name, fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
	}
	return nil
}
