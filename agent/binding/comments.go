package binding

import (
	"fmt"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

// CommentRule says which comments travel and how foreign ones are shown.
type CommentRule struct {
	field     crdt.Field
	local     string
	direction Direction
	send      *program // nil means every comment that is not internal
	// internal: the send expression decides about internal comments too, since it
	// looks at it.internal.
	internal bool
	byline   *program // nil means "name (site):"
}

// Field returns the pact's field of comments.
func (r CommentRule) Field() crdt.Field { return r.field }

// Receives reports whether foreign comments are written to the system.
func (r CommentRule) Receives() bool { return r.direction != Send }

// Sends reports whether local comment c leaves. An internal one stays home unless
// the binding's send expression looks at it.internal and says otherwise. With a
// problem nobody knows: the comment stays home until somebody has looked.
func (r CommentRule) Sends(c connectors.Comment) (bool, *Problem) {
	if r.direction == Receive || c.Internal && !r.internal {
		return false, nil
	}
	if r.send == nil {
		return true, nil
	}
	author := map[string]value.Value{"name": value.Text(c.Author.Name), "email": value.Text(c.Author.Email)}
	v, p := r.send.eval(value.Map(map[string]value.Value{
		"internal": value.Bool(c.Internal), "body": value.Text(c.Body), "author": value.Map(author),
	}))
	switch {
	case p != nil:
		return false, p
	case v.Kind() != value.KindBool:
		return false, &Problem{Code: CodeExpression, Message: fmt.Sprintf("send: gives %s, want bool", v.Kind())}
	}
	return v.AsBool(), nil
}

// Body renders a comment of somebody elsewhere: the byline, an empty line, the
// text. The same comment always has the same body.
func (r CommentRule) Body(author string, site crdt.Site, body string) string {
	byline := author + " (" + string(site) + "):"
	if r.byline != nil {
		v, p := r.byline.eval(value.Map(map[string]value.Value{
			"author": value.Map(map[string]value.Value{"name": value.Text(author)}),
			"site":   value.Text(string(site)),
		}))
		if p == nil && v.Kind() == value.KindText {
			byline = v.AsText()
		}
	}
	if byline == "" {
		return body
	}
	return byline + "\n\n" + body
}
