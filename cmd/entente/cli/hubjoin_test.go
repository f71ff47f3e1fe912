package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// What may fail here fails before a token is used, and a second try has the first
// one's key.
func TestJoinPreparesBeforeItAsks(t *testing.T) {
	f := placeFlags{dir: filepath.Join(t.TempDir(), "n2")}
	key, err := f.prepare()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := f.prepare(); err != nil || !bytes.Equal(again, key) {
		t.Fatalf("a second try has another key, %v", err)
	}
	for _, name := range []string{nodeCertFile, nodeCAFile, hubFile} {
		file := filepath.Join(f.dir, name)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		var usage *usageError
		if _, err := f.prepare(); !errors.As(err, &usage) {
			t.Errorf("beside %s: %v", name, err)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
}
