package realtest

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestRedmine(t *testing.T) {
	t.Parallel()
	s, other := Redmine(t), Redmine(t)
	ctx := t.Context()
	id, err := s.Create(ctx, s.Human, map[string]any{"subject": "printer on fire"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Comment(ctx, s.Service, id, "which one?", true); err != nil {
		t.Fatal(err)
	}
	issue, err := s.Issue(ctx, s.Human, id)
	if err != nil {
		t.Fatal(err)
	}
	if author := issue["author"].(map[string]any)["name"]; author != s.Human.Name {
		t.Errorf("author %v", author)
	}
	if n := len(issue["journals"].([]any)); n != 1 {
		t.Errorf("%d journals", n)
	}
	if all, err := other.Issues(ctx, other.Human); err != nil || len(all) != 0 {
		t.Errorf("the other instance has %d issues, %v", len(all), err)
	}
	if err := s.NewProject(ctx, "second"); err != nil {
		t.Error(err)
	}
	ended(t, s.instance)
}

func TestRT(t *testing.T) {
	t.Parallel()
	s := RT(t)
	ctx := t.Context()
	id, err := s.Create(ctx, s.Human, map[string]any{"Subject": "VPN", "CustomFields": map[string]any{"Description": "down"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Comment(ctx, s.Service, id, "since when?", false); err != nil {
		t.Fatal(err)
	}
	if all, err := s.Tickets(ctx, s.Service); err != nil || len(all) != 1 {
		t.Errorf("%d tickets, %v", len(all), err)
	}
	if h, err := s.History(ctx, s.Human, id, "Type,Creator"); err != nil || len(h) < 2 {
		t.Errorf("%d transactions, %v", len(h), err)
	}
	if err := s.NewQueue(ctx, "second"); err != nil {
		t.Error(err)
	}
	ended(t, s.instance)
}

// ended closes in and checks that nothing of it is left.
func ended(t *testing.T, in *instance) {
	t.Helper()
	pid := in.cmd.Process.Pid
	for range 2 {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	}
	deadline := time.Now().Add(20 * time.Second) // init buries the dead when it comes to it
	for !errors.Is(syscall.Kill(-pid, 0), syscall.ESRCH) {
		if time.Now().After(deadline) {
			t.Fatalf("process group %d lives", pid)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if _, err := os.Stat(in.dir); !os.IsNotExist(err) {
		t.Errorf("directory: %v", err)
	}
}
