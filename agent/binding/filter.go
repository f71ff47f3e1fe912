package binding

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"

	"github.com/entente-sync/entente/crdt/value"
)

// ErrFilter is wrapped by errors of a filter's text.
var ErrFilter = errors.New("invalid filter")

// Filter is a CEL expression over a local record (`it`) that gives a bool, as
// `match` is, apart from any binding. Safe for concurrent use.
type Filter struct{ program *program }

// NewFilter compiles a filter.
func NewFilter(source string) (*Filter, error) {
	c, err := newCompiler()
	if err != nil {
		return nil, err
	}
	ast, issues := c.env.Compile(source)
	if issues.Err() != nil {
		first := issues.Errors()[0]
		message, _, _ := strings.Cut(first.Message, "\n")
		return nil, fmt.Errorf("%w: column %d: %s", ErrFilter, first.Location.Column()+1, message)
	}
	if got := ast.OutputType(); !got.IsExactType(cel.BoolType) && !got.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("%w: gives %s, want bool", ErrFilter, got)
	}
	run, err := c.env.Program(ast, cel.CostLimit(celCostMax), cel.MemoryLimit(celMemoryMax), cel.CustomDecoratorV2(sortMaps))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFilter, err)
	}
	return &Filter{&program{what: "filter", run: run, ast: ast.NativeRep()}}, nil
}

// Passes reports whether a local record passes.
func (f *Filter) Passes(local map[string]value.Value) (bool, *Problem) {
	v, p := f.program.eval(value.Map(local))
	switch {
	case p != nil:
		return false, p
	case v.Kind() != value.KindBool:
		return false, &Problem{Code: CodeExpression, Message: fmt.Sprintf("filter: gives %s, want bool", v.Kind())}
	}
	return v.AsBool(), nil
}
