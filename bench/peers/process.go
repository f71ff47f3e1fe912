package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// processes are the nodes of one peer; they end with this process.
type processes struct {
	dir  string
	cmds []*exec.Cmd
}

// start runs cmd with its output in a file of the directory.
func (p *processes) start(name string, cmd *exec.Cmd) error {
	log, err := os.OpenFile(filepath.Join(p.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own copy
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	p.cmds = append(p.cmds, cmd)
	return nil
}

// kill ends all of them at once.
func (p *processes) kill() {
	for _, cmd := range p.cmds {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}
}

// logs returns the end of every log, for an error.
func (p *processes) logs() string {
	const bytesMax = 1500
	var b strings.Builder
	files, _ := filepath.Glob(filepath.Join(p.dir, "*.log"))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		fmt.Fprintf(&b, "\n%s:\n%s", filepath.Base(file), text[max(0, len(text)-bytesMax):])
	}
	return b.String()
}

// freePorts returns loopback ports that were free a moment ago.
func freePorts(n int) ([]int, error) {
	var out []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all at once, so that none is given twice
		address, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			return nil, errors.New("no TCP address")
		}
		out = append(out, address.Port)
	}
	return out, nil
}

// onPath says what is not installed.
func onPath(program string) func() error {
	return func() error {
		_, err := exec.LookPath(program)
		return err
	}
}
