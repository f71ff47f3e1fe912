package backup

import (
	"errors"
	"fmt"
	"slices"

	"github.com/entente-sync/entente/hub/store"
	"github.com/entente-sync/entente/proto/pact"
)

// Code is a stable name for why a backup was not made, read or restored.
type Code string

// Codes. Codes lists what each asks of the operator.
const (
	CodeForeign    Code = "backup.foreign"
	CodeDamaged    Code = "backup.damaged"
	CodeNewer      Code = "backup.newer"
	CodeSealed     Code = "backup.sealed"
	CodeIdentity   Code = "backup.identity"
	CodeOtherHub   Code = "backup.other_hub"
	CodeSameHub    Code = "backup.same_hub"
	CodeUnfounded  Code = "backup.unfounded"
	CodeExists     Code = "backup.exists"
	CodeNotEmpty   Code = "backup.not_empty"
	CodeUnverified Code = "backup.unverified"
	CodePeerRuns   Code = "backup.peer_runs"
	CodeRuns       Code = "recover.runs"
	CodeWhole      Code = "recover.whole"
	CodeUnasked    Code = "recover.unconfirmed"
)

// Fault is a failure with a code. Whatever it is, what stood at the target before
// stands there still.
type Fault struct {
	Code Code
	Err  error
}

func fault(code Code, err error) *Fault { return &Fault{code, err} }

func (f *Fault) Error() string {
	return fmt.Sprintf("%s: %v (next: %s)", f.Code, f.Err, Next(f.Code))
}

// Refused reports whether the operator must change what he asked for; otherwise
// something broke.
func (f *Fault) Refused() bool { return f.Code != CodeDamaged && f.Code != CodeUnverified }

func (f *Fault) Unwrap() error { return f.Err }

// Is matches any Fault of the same code: errors.Is(err, &Fault{Code: c}).
func (f *Fault) Is(target error) bool {
	t, ok := target.(*Fault)
	return ok && t.Err == nil && t.Code == f.Code
}

// Advice is one row of the table of codes.
type Advice struct {
	Code Code
	// Next is what the operator does now.
	Next string
}

// Codes lists the table, for documentation and tests.
func Codes() []Advice { return slices.Clone(codes) }

// Next returns what to do about a code.
func Next(code Code) string {
	if i := slices.IndexFunc(codes, func(a Advice) bool { return a.Code == code }); i >= 0 {
		return codes[i].Next
	}
	return "report it"
}

// codes is the one table; it is never written.
var codes = []Advice{
	{CodeForeign, "name a file that `entente hub snapshot save` or a schedule wrote"},
	{CodeDamaged, "take an older backup; this one cannot be repaired, and nothing was touched"},
	{CodeNewer, "use the version of entente that wrote it, or a later one"},
	{CodeSealed, "pass the age identity of one of its recipients with --identity FILE"},
	{CodeIdentity, "find the identity of a recipient that the hub's configuration named when this was written"},
	{CodeOtherHub, "use the backup of this node's hub, or --new-cluster if another hub shall begin as its copy"},
	{CodeSameHub, "leave --new-cluster out: this is the node's own hub"},
	{CodeUnfounded, "found the hub first: there is nothing to keep yet"},
	{CodeExists, "choose another name; backups are never overwritten"},
	{CodeNotEmpty, "stop the node, and move its directory away: a restore starts in an empty one"},
	{CodePeerRuns, "stop every other node of the hub and move its directory away: they join the restored one with empty ones"},
	{CodeRuns, "stop this node first"},
	{CodeWhole, "nothing is lost: start this node"},
	{CodeUnasked, "if the other nodes are lost for good, say so: --lose-others HUB_ID --reason TEXT"},
	{CodeUnverified, "try again; what was written does not read back as it should, so look at the disk or the bucket"},
}

// coded gives an error of the packages below its code.
func coded(err error) error {
	var known *Fault
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, store.ErrNewer), errors.Is(err, pact.ErrNewer):
		return fault(CodeNewer, err)
	case errors.Is(err, store.ErrDamaged), errors.Is(err, pact.ErrMalformed), errors.Is(err, pact.ErrInvalid):
		return fault(CodeDamaged, err)
	}
	return err
}
