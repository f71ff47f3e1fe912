package binding

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"

	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/yamlfile"
)

// Limits of one evaluation. CEL's cost is about time, its memory limit counts
// elements; what goes in and out is bounded here.
const (
	celBytesMax   = 64 << 10 // of input, of output
	celCostMax    = 1_000_000
	celMemoryMax  = 4 << 20
	celSourceMax  = 4096
	celOutputName = "64 KiB"
)

// program is one compiled expression over `it`. Safe for concurrent use.
type program struct {
	what string // "read", "match": for messages
	run  cel.Program
	ast  *celast.AST
}

// compiler holds the environment of a binding's expressions: the standard
// functions, strings and optional values. There is no clock in it.
type compiler struct{ env *cel.Env }

func newCompiler() (compiler, error) {
	env, err := cel.NewEnv(
		cel.Variable("it", cel.DynType),
		cel.OptionalTypes(),
		ext.Strings(ext.StringsVersion(4)),
		cel.ParserExpressionSizeLimit(celSourceMax),
		cel.ParserRecursionLimit(64),
		cel.RegexProgramSizeLimit(4096),
	)
	if err != nil {
		return compiler{}, fmt.Errorf("CEL environment: %w", err)
	}
	return compiler{env}, nil
}

// compile reports every fault of the expression at n to its document, with the
// place inside it, and returns nil then. want is the type that it must have;
// dyn passes and is checked when it runs.
func (c compiler) compile(n yamlfile.Node, what string, want *cel.Type) *program {
	source, ok := n.Text()
	if !ok {
		n.Fail("binding.expression", "quote it", "%s is %s, want a CEL expression", what, n.Shape())
		return nil
	}
	ast, issues := c.env.Compile(source)
	if issues.Err() != nil {
		for _, e := range issues.Errors() {
			message, _, _ := strings.Cut(e.Message, "\n")
			n.FailAt(n.Inner(e.Location.Line(), e.Location.Column()), "binding.expression", "", "%s: %s", what, message)
		}
		return nil
	}
	if got := ast.OutputType(); want != nil && !got.IsExactType(want) && !got.IsExactType(cel.DynType) {
		n.Fail("binding.expression", "", "%s gives %s, want %s", what, got, want)
		return nil
	}
	run, err := c.env.Program(ast, cel.CostLimit(celCostMax), cel.MemoryLimit(celMemoryMax),
		cel.CustomDecoratorV2(sortMaps))
	if err != nil {
		n.Fail("binding.expression", "", "%s: %s", what, err)
		return nil
	}
	return &program{what: what, run: run, ast: ast.NativeRep()}
}

// selects reports whether the expression looks at a part of that name.
func (p *program) selects(name string) bool {
	return len(celast.MatchDescendants(celast.NavigateAST(p.ast), func(e celast.NavigableExpr) bool {
		return e.Kind() == celast.SelectKind && e.AsSelect().FieldName() == name ||
			e.Kind() == celast.LiteralKind && e.AsLiteral() == types.String(name)
	})) > 0
}

// eval runs the program on it.
func (p *program) eval(it value.Value) (value.Value, *Problem) {
	size := sizeOf(it)
	if size > celBytesMax {
		return value.Null(), &Problem{Code: CodeSize, Message: fmt.Sprintf("%s: the input has %d bytes, limit %d", p.what, size, celBytesMax)}
	}
	out, _, err := p.run.Eval(map[string]any{"it": toCEL(it)})
	if err != nil {
		return value.Null(), p.failed(err, size)
	}
	v, err := fromCEL(out, 0)
	if err != nil {
		return value.Null(), p.failed(err, size)
	}
	if n := sizeOf(v); n > celBytesMax {
		return value.Null(), &Problem{Code: CodeSize, Message: fmt.Sprintf("%s: the result has %d bytes, limit %d", p.what, n, celBytesMax)}
	}
	return v, nil
}

// evalExact is eval where the result is kept: a decimal that a double cannot
// hold is a problem instead of being rounded.
func (p *program) evalExact(it value.Value) (value.Value, *Problem) {
	if !exact(it) {
		return value.Null(), &Problem{
			Code: CodeExpression, Message: p.what + ": the number has more digits than an expression keeps",
			Suggestion: "map the field without an expression",
		}
	}
	return p.eval(it)
}

func exact(v value.Value) bool {
	if v.Kind() == value.KindDecimal {
		back, err := fromCEL(toCEL(v), 0)
		return err == nil && back.Equal(v)
	}
	for i := range v.Len() {
		if !exact(v.At(i)) {
			return false
		}
	}
	return true
}

// failed explains an error. CEL's own messages may quote values, so only the
// known kinds are repeated.
func (p *program) failed(err error, size int) *Problem {
	text := err.Error()
	out := &Problem{
		Code: CodeExpression, Message: p.what + ": the expression failed on this value",
		Suggestion: "try it on the record's value; guard missing parts with has()",
	}
	switch {
	case strings.Contains(text, "cost limit"):
		out.Message = fmt.Sprintf("%s: the expression costs more than %d steps on an input of %d bytes", p.what, celCostMax, size)
		out.Suggestion = "nested loops and repeated concatenation cost the product of their sizes; use a table or a simpler expression"
	case strings.Contains(text, "memory limit"):
		out.Message = fmt.Sprintf("%s: the expression builds more than it may hold on an input of %d bytes", p.what, size)
		out.Suggestion = "it may return at most " + celOutputName
	case strings.HasPrefix(text, "no such key"):
		out.Message = p.what + ": the expression reads a part that is not there"
	case strings.HasPrefix(text, "no such overload"):
		out.Message = p.what + ": the expression mixes types"
		out.Suggestion = "convert with string(), int(), double()"
	}
	return out
}

// sizeOf is the number of content bytes of v, at least one a part.
func sizeOf(v value.Value) int {
	n := 1 + len(v.AsText())
	if v.Kind() == value.KindBytes {
		n += len(v.AsBytes())
	}
	for i := range v.Len() {
		n += sizeOf(v.At(i))
	}
	for _, k := range v.Keys() {
		n += len(k)
	}
	return n
}
