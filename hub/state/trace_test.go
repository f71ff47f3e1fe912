package state_test

import (
	"bufio"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Each file in testdata is a hub's life in blocks: commands, dashes, what the
// machine answered and put into the feed. Lines with # are comments.
func TestTraces(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no traces: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := trace(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Fatalf("trace differs; got:\n%s", got)
			}
		})
	}
}

type tracer struct {
	*log
	epoch crdt.Epoch
	out   strings.Builder
}

func trace(t *testing.T, text string) string {
	r := &tracer{log: newLog(t), epoch: epochOne}
	input := true
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		switch {
		case line == "----":
			input = false
			continue
		case line == "":
			input = true
		case !input:
			continue
		}
		r.out.WriteString(line + "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		head := r.head(t)
		answer := r.verb(t, strings.Fields(line))
		r.out.WriteString("----\n" + answer)
		r.news(t, head)
	}
	return r.out.String()
}

func (r *tracer) head(t *testing.T) crdt.Offset {
	info, err := r.m.Pact(tickets)
	if err != nil {
		t.Fatal(err)
	}
	return info.Head
}

// verb runs one command and says what was answered.
func (r *tracer) verb(t *testing.T, words []string) string {
	args := map[string]string{}
	var plain []string
	for _, w := range words[1:] {
		if k, v, ok := strings.Cut(w, "="); ok && !strings.Contains(k, "(") {
			args[k] = v
		} else {
			plain = append(plain, w)
		}
	}
	switch words[0] {
	case "pub":
		return r.pub(t, plain, args)
	case "pact":
		res := r.apply(&command.PutPact{Document: agreement(uint32(number(t, plain[0]))).Encode()}).Commands[0]
		return fmt.Sprintf("version %d %s\n", res.Version, res.Reason)
	case "fork":
		child := crdt.Epoch(number(t, plain[0]))
		res := r.apply(&command.Fork{Parent: r.epoch, Child: child}).Commands[0]
		r.epoch = child
		return fmt.Sprintf("epoch %s %s\n", child, res.Reason)
	case "author":
		var out strings.Builder
		for _, a := range r.m.Authors(tickets, crdt.Site(plain[0]), "main") {
			fmt.Fprintf(&out, "%s seen %d applied %d\n", a.Author, a.Seen, a.Applied)
		}
		return out.String()
	case "feed":
		var out strings.Builder
		for _, s := range feedAll(t, r.m, crdt.Position{Epoch: r.epoch, Offset: crdt.Offset(number(t, plain[0]))}, 2) {
			fmt.Fprintln(&out, describe(t, s))
		}
		return out.String()
	}
	t.Fatalf("unknown verb %q", words[0])
	return ""
}

// pub sends author#seq record field value, on pred=id birth=[epoch:]offset, at
// t=ms, behind after=id, under pv=version, believing in epoch=number.
func (r *tracer) pub(t *testing.T, plain []string, args map[string]string) string {
	id := opID(t, plain[0])
	op := edit(id.Author, id.Seq, key(byte(number(t, plain[1])), crdt.Field(plain[2])), int64(number(t, args["t"])), plain[3])
	if op.Key.Field == crdt.FieldLife {
		op.Value = life(t, plain[3]).Envelope()
	}
	op.Base = crdt.Base{Pred: opID(t, args["pred"]), Birth: position(t, args["birth"])}
	if v := args["pv"]; v != "" {
		op.PactVersion = uint32(number(t, v))
	}
	epoch := r.epoch
	if v := args["epoch"]; v != "" {
		epoch = crdt.Epoch(number(t, v))
	}
	site := op.Author.Site
	if v := args["as"]; v != "" {
		site = crdt.Site(v)
	}
	c := &command.Publish{
		Site: site, Agent: "main", Pact: tickets, Epoch: epoch, After: opID(t, args["after"]), Ops: []crdt.Op{op},
	}
	res := r.apply(c).Commands[0].Ops[0]
	if res.Outcome == state.OutcomeApplied {
		return fmt.Sprintf("applied @%d\n", res.Offset)
	}
	return fmt.Sprintf("%s %s\n", res.Outcome, res.Reason)
}

// news lists what the feed has behind head.
func (r *tracer) news(t *testing.T, head crdt.Offset) {
	for _, s := range feedAll(t, r.m, crdt.Position{Epoch: r.epoch, Offset: head}, 100) {
		r.out.WriteString("  " + describe(t, s) + "\n")
	}
}

func describe(t *testing.T, s *state.Stored) string {
	op := &s.Register.Op
	if op.Key.Field.IsLost() {
		l, err := crdt.DecodeLost(op)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("@%d %d %s conflict %s: lost %s to %s", s.Offset, op.Key.Record[15],
			l.Loser.Key.Field, l.State, l.Loser.ID(), l.Winner.ID)
		if l.State == crdt.LostResolved {
			text += " closed by " + l.Resolver.ID.String()
		}
		return text
	}
	v, err := crdt.OpenPlain(op.Value)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("@%d %d %s = %s by %s born %s", s.Offset, op.Key.Record[15], op.Key.Field, v, op.ID(), s.Register.Birth)
}

// life reads live, or deleted(field=offset,...).
func life(t *testing.T, s string) crdt.Life {
	shown, ok := strings.CutPrefix(s, "deleted(")
	if !ok {
		return crdt.Life{}
	}
	l := crdt.Life{Deleted: true, Seen: map[crdt.Field]crdt.Base{}}
	for _, part := range strings.Split(strings.TrimSuffix(shown, ")"), ",") {
		if f, at, ok := strings.Cut(part, "="); ok {
			l.Seen[crdt.Field(f)] = crdt.Base{Birth: position(t, at)}
		}
	}
	return l
}

func opID(t *testing.T, s string) crdt.OpID {
	if s == "" {
		return crdt.OpID{}
	}
	name, seq, _ := strings.Cut(s, "#")
	site, incarnation, _ := strings.Cut(name, ".")
	if incarnation == "" {
		incarnation = "1"
	}
	return crdt.OpID{Author: author(crdt.Site(site), number(t, incarnation)), Seq: crdt.Seq(number(t, seq))}
}

func position(t *testing.T, s string) crdt.Position {
	if s == "" {
		return crdt.Position{}
	}
	epoch, offset, ok := strings.Cut(s, ":")
	if !ok {
		return crdt.Position{Epoch: epochOne, Offset: crdt.Offset(number(t, s))}
	}
	return crdt.Position{Epoch: crdt.Epoch(number(t, epoch)), Offset: crdt.Offset(number(t, offset))}
}

func number(t *testing.T, s string) uint64 {
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Every reason that Apply itself may give appears in a trace, so that none is
// untested.
func TestTracesCoverReasons(t *testing.T) {
	missing := map[state.Reason]bool{
		state.ReasonMalformed: true, state.ReasonStampFuture: true, state.ReasonStampBase: true,
		state.ReasonForged: true, state.ReasonSeqReused: true, state.ReasonGap: true, state.ReasonEpoch: true,
		state.ReasonNotMember: true, state.ReasonPactVersion: true,
	}
	files, _ := filepath.Glob(filepath.Join("testdata", "*.txt"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for r := range missing {
			if strings.Contains(string(text), " "+string(r)+"\n") {
				delete(missing, r)
			}
		}
	}
	if len(missing) > 0 {
		t.Fatalf("no trace for %v", slices.Collect(maps.Keys(missing)))
	}
}
