package realtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
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

// TestEachTryBeginsFromNothing starts a Redmine in the directory in which one
// has already filled its database, as a second try of a start does, with a first
// try that fails.
func TestEachTryBeginsFromNothing(t *testing.T) {
	t.Parallel()
	s := Redmine(t)
	s.letGo(false)
	tries := 0
	err := s.start(t.Context(), func(port int) (*exec.Cmd, error) {
		if tries++; tries == 1 {
			return s.command("/bin/false"), nil
		}
		return s.server(port)
	}, "/login")
	if err != nil || tries != 2 {
		t.Fatalf("%d tries: %v", tries, err)
	}
	s.api.root = s.instance.url()
	if all, err := s.Issues(t.Context(), s.Human); err != nil || len(all) != 0 {
		t.Errorf("%d issues, %v", len(all), err)
	}
	ended(t, s.instance)
}

// TestStarterDies kills a process that has started a server, as a test that
// runs into its time limit would be.
func TestStarterDies(t *testing.T) {
	if os.Getenv(starterEnv) != "" {
		in := RT(t).instance
		fmt.Printf("started %d %s\n", in.cmd.Process.Pid, in.dir)
		select {} // until killed
	}
	t.Parallel()
	_, err := webUser()
	if err = errors.Join(err, need("request-tracker5", rtProgram, rtDatabase)); err != nil {
		RT(t) // skips or fails, as it should
	}
	starter := exec.Command(os.Args[0], "-test.run=^TestStarterDies$")
	starter.Env = append(os.Environ(), starterEnv+"=1")
	out, err := starter.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := starter.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var dir string
	if _, err := fmt.Fscanf(out, "started %d %s\n", &pid, &dir); err != nil {
		t.Error(err)
	}
	if err := starter.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = starter.Wait() // it was killed
	if pid > 0 {
		gone(t, pid, dir)
	}
}

const starterEnv = "ENTENTE_REALTEST_STARTER"

// ended closes in and checks that nothing of it is left.
func ended(t *testing.T, in *instance) {
	t.Helper()
	pid := in.cmd.Process.Pid
	for range 2 {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	}
	gone(t, pid, in.dir)
}

// gone waits until a process group and its directory are no more.
func gone(t *testing.T, pid int, dir string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second) // init buries the dead when it comes to it
	for {
		_, err := os.Stat(dir)
		if errors.Is(syscall.Kill(-pid, 0), syscall.ESRCH) && os.IsNotExist(err) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process group %d or %s is still there", pid, dir)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
