package conformance

import (
	"slices"

	"github.com/entente-sync/entente/connectors"
)

func commentCases() []Case {
	return []Case{
		{
			Name: "comment-append", Run: commentAppend, Needs: hasComments,
			Why: "each comment must cross exactly once",
		},
		{
			Name: "comment-authors", Run: commentAuthors, Needs: func(c connectors.Capabilities, e *Env) bool { return c.Comments && e.Scope.Users.Comment != nil },
			Why: "own comments must not come back as new ones",
		},
		{
			Name: "comment-visibility", Run: commentVisibility, Needs: func(c connectors.Capabilities, _ *Env) bool { return c.InternalComments },
			Why: "an internal note that reaches the partner cannot be taken back",
		},
		{
			Name: "comment-no-visibility", Run: commentNoVisibility, Needs: func(c connectors.Capabilities, _ *Env) bool { return c.Comments && !c.InternalComments },
			Why: "an internal note in a system without visibility would be public",
		},
		{
			Name: "undeclared-comments", Run: undeclaredComments, Needs: func(c connectors.Capabilities, _ *Env) bool { return !c.Comments },
			Why: "an undeclared ability is one that the agent does not use",
		},
	}
}

func hasComments(c connectors.Capabilities, _ *Env) bool { return c.Comments }

func (e *Env) comment(t T, key connectors.Key, body string, internal bool) connectors.Receipt {
	t.Helper()
	receipt, err := e.C.Write(e.context(t), connectors.Write{
		Kind: connectors.WriteComment, Key: key,
		Comment: connectors.CommentDraft{Body: body, Internal: internal},
	})
	if err != nil {
		t.Fatalf("comment (internal %t) failed: %v", internal, err)
	}
	return receipt
}

func commentAppend(t T, e *Env) {
	key := e.create(t, "comments", "", nil)
	cursor := now(t, e)
	first := e.comment(t, key, "first comment", false)
	await(t, e, cursor, key) // a comment is a change of its record
	e.comment(t, key, "first comment", false)
	rec := e.read(t, key)
	if len(rec.Comments) != 2 {
		t.Fatalf("two comments with equal text make %d, want 2", len(rec.Comments))
	}
	one, two := rec.Comments[0], rec.Comments[1]
	if one.Key == "" || one.Key == two.Key {
		t.Errorf("Comment.Key must be unique within the record: %q, %q", one.Key, two.Key)
	}
	if first.Comment != "" && first.Comment != one.Key {
		t.Errorf("Receipt.Comment %q is not the key %q that a read shows", first.Comment, one.Key)
	}
	if two.At.Before(one.At) || one.At.IsZero() {
		t.Error("Record.Comments is not oldest first, or has no times")
	}
	if one.Body != "first comment" && !slices.Contains(e.Caps.Normalises, "comments") {
		t.Error("a comment's body reads otherwise than it was written, and Normalises does not name \"comments\"")
	}
	for _, c := range rec.History {
		if c.Field == "comments" {
			t.Error("comments belong into Record.Comments, not into Record.History")
		}
	}
}

func commentAuthors(t T, e *Env) {
	key := e.create(t, "authors", "", nil)
	e.comment(t, key, "mine", false)
	if err := e.Scope.Users.Comment(e.context(t), key, "theirs", false); err != nil {
		t.Fatalf("users' side: %v", err)
	}
	comments := e.read(t, key).Comments
	if len(comments) != 2 {
		t.Fatalf("two comments make %d", len(comments))
	}
	if !comments[0].Author.Self || comments[1].Author.Self {
		t.Errorf("Comment.Author.Self must be true for the connector's comment and false for the user's: %t, %t",
			comments[0].Author.Self, comments[1].Author.Self)
	}
	if comments[1].Author.Name == "" {
		t.Error("Comment.Author.Name is empty for a user's comment")
	}
}

func commentVisibility(t T, e *Env) {
	key := e.create(t, "visibility", "", nil)
	e.comment(t, key, "for us", true)
	e.comment(t, key, "for all", false)
	comments := e.read(t, key).Comments
	if len(comments) != 2 || !comments[0].Internal || comments[1].Internal {
		t.Fatalf("an internal and a public comment read as %d comments; Internal must be true, then false", len(comments))
	}
	if e.Scope.Users.Comment == nil {
		return
	}
	if err := e.Scope.Users.Comment(e.context(t), key, "a user's note", true); err != nil {
		t.Fatalf("users' side: %v", err)
	}
	if comments = e.read(t, key).Comments; len(comments) != 3 || !comments[2].Internal {
		t.Errorf("a user's internal note reads as public: it would leave the company")
	}
}

func commentNoVisibility(t T, e *Env) {
	key := e.create(t, "visibility", "", nil)
	_, err := e.C.Write(e.context(t), connectors.Write{
		Kind: connectors.WriteComment, Key: key,
		Comment: connectors.CommentDraft{Body: canary, Internal: true},
	})
	wantClass(t, e, err, connectors.ClassInvalid, "internal comment where there are none")
	for _, c := range e.read(t, key).Comments {
		if c.Internal {
			t.Error("a comment reads as internal: declare Capabilities.InternalComments")
		}
	}
}

func undeclaredComments(t T, e *Env) {
	key := e.create(t, "comments", "", nil)
	_, err := e.C.Write(e.context(t), connectors.Write{
		Kind: connectors.WriteComment, Key: key,
		Comment: connectors.CommentDraft{Body: "a comment"},
	})
	if err == nil || len(e.read(t, key).Comments) > 0 {
		t.Error("a comment can be written or read: declare Capabilities.Comments, or the agent will not rely on it")
	}
}
