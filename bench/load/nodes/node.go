package nodes

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Node is one node, running or not.
type Node struct {
	Name   string
	Agents string // where agents reach it

	cluster               *Cluster
	nodes, metrics, pprof string
	run                   *process
}

// process is one life of a node.
type process struct {
	cmd  *exec.Cmd
	out  *bufio.Reader
	done chan struct{}
	err  error // after done
}

// Dir holds the node's configuration, certificates and, in store, its state.
func (n *Node) Dir() string { return filepath.Join(n.cluster.dir, n.Name) }

func (n *Node) logFile() string { return filepath.Join(n.cluster.dir, n.Name+".log") }

// Start runs the node. The process ends with this one.
func (n *Node) Start() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(n.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own copy
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), envChild+"="+n.cluster.kind, envFile+"="+filepath.Join(n.Dir(), "hub.yaml"), envPprof+"="+n.pprof)
	cmd.Env = append(cmd.Env, n.cluster.extra...)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	p := &process{cmd: cmd, out: bufio.NewReader(out), done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	n.run = p
	return nil
}

// Kill ends the node at once; one that does not run is no error.
func (n *Node) Kill() error {
	p := n.run
	if p == nil {
		return nil
	}
	n.run = nil
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return nil
}

// Stop asks the node to end, as an operator does, and returns how it did.
func (n *Node) Stop(ctx context.Context) error {
	p := n.run
	if p == nil {
		return nil
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		n.run = nil
		return p.err
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), n.Kill())
	}
}

// Ready waits until the node says that agents may be sent to it.
func (n *Node) Ready(ctx context.Context) error {
	for {
		if _, err := n.get(ctx, n.metrics, "/readyz"); err == nil {
			return nil
		}
		select {
		case <-n.run.done:
			return fmt.Errorf("node %s ended: %w\n%s", n.Name, n.run.err, n.logTail())
		default:
		}
		if err := pause(ctx, pollEvery); err != nil {
			return fmt.Errorf("node %s is not ready: %w\n%s", n.Name, err, n.logTail())
		}
	}
}

func (n *Node) logTail() string {
	text, err := os.ReadFile(n.logFile())
	if err != nil {
		return err.Error()
	}
	const bytesMax = 2000
	return string(text[max(0, len(text)-bytesMax):])
}

func (n *Node) leads(ctx context.Context) bool {
	text, err := n.get(ctx, n.metrics, "/metrics")
	return err == nil && metric(text, "entente_hub_raft_is_leader") == "1"
}

// Checkpointed waits until everything that the node holds is in its store. No
// load may be running.
func (n *Node) Checkpointed(ctx context.Context) error {
	for {
		text, err := n.get(ctx, n.metrics, "/metrics")
		if err != nil {
			return err
		}
		if applied := metric(text, "entente_hub_raft_applied_index"); applied != "" && applied == metric(text, "entente_hub_checkpoint_index") {
			return nil
		}
		if err := pause(ctx, 10*pollEvery); err != nil {
			return fmt.Errorf("node %s takes no checkpoint: %w", n.Name, err)
		}
	}
}

// metric returns the value of a metric without labels, "" if it is not there.
func metric(text []byte, name string) string {
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (n *Node) get(ctx context.Context, address, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("node %s: %s: %s: %s", n.Name, path, answer.Status, bytes.TrimSpace(text))
	}
	return text, err
}

// Profile writes what the node does for the next seconds to file. The others
// ("heap", "mutex"...) are taken at once.
func (n *Node) Profile(ctx context.Context, kind string, d time.Duration, file string) error {
	path := "/debug/pprof/" + kind
	if kind == "profile" {
		path += "?seconds=" + strconv.Itoa(max(1, int(d.Seconds())))
	}
	text, err := n.get(ctx, n.pprof, path)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

// RSS returns the node's resident memory, in bytes.
func (n *Node) RSS() (int64, error) {
	if n.run == nil {
		return 0, fmt.Errorf("node %s does not run", n.Name)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.run.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == "VmRSS:" {
			kib, err := strconv.ParseInt(words[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("no VmRSS in /proc")
}

// CPU returns the processor time that the node has used.
func (n *Node) CPU() (time.Duration, error) {
	if n.run == nil {
		return 0, fmt.Errorf("node %s does not run", n.Name)
	}
	return CPU(n.run.cmd.Process.Pid)
}

// CPU returns the processor time that a process has used.
func CPU(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name, in brackets, may hold anything; utime and stime are fields 14 and
	// 15, in hundredths of a second on every Linux.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	const utime, hundredth = 14 - 3, 10 * time.Millisecond
	if len(fields) <= utime+1 {
		return 0, errors.New("short /proc/stat")
	}
	user, err := strconv.ParseInt(string(fields[utime]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[utime+1]), 10, 64)
	return time.Duration(user+system) * hundredth, errors.Join(err, err2)
}
