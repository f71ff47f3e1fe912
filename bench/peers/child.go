package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
)

const envChild = "ENTENTE_PEERS_CHILD"

// node is what a child is told: one node of three of an embedded server.
type node struct {
	Kind       string // "etcd" or "nats"
	Number     int
	Dir        string
	Clients    []int // ports of all nodes, for clients
	Peers      []int // and for each other
	SyncAlways bool
}

func (n node) name() string { return "n" + strconv.Itoa(n.Number+1) }

func (n node) command() (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(n)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), envChild+"="+string(text))
	return cmd, nil
}

// child runs a node and never returns, if this process was started as one.
func child() {
	text := os.Getenv(envChild)
	if text == "" {
		return
	}
	var n node
	err := json.Unmarshal([]byte(text), &n)
	if err == nil {
		switch n.Kind {
		case "etcd":
			err = etcdNode(n)
		case "nats":
			err = natsNode(n)
		default:
			err = fmt.Errorf("unknown kind %q", n.Kind)
		}
	}
	fmt.Fprintln(os.Stderr, "peers:", err)
	os.Exit(1)
}

// startThree runs three nodes in processes of their own.
func startThree(p *processes, kind string, syncAlways bool) (clients []int, err error) {
	ports, err := freePorts(6)
	if err != nil {
		return nil, err
	}
	n := node{Kind: kind, Clients: ports[:3], Peers: ports[3:], SyncAlways: syncAlways}
	for i := range 3 {
		n.Number = i
		n.Dir = p.dir + "/" + n.name()
		cmd, err := n.command()
		if err != nil {
			return nil, err
		}
		if err := p.start(n.name(), cmd); err != nil {
			return nil, err
		}
	}
	return ports[:3], nil
}
