package realtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// startTries is how often a start is tried: on a machine that is busy with
// other tests a server may end before it answers. Each try begins from nothing.
const startTries = 3

// listenerFile is the file descriptor on which a server finds its listener: the
// first after the standard ones.
const listenerFile = 3

// instance is a server process with its own directory.
type instance struct {
	dir   string
	port  int
	owner *syscall.Credential
	env   []string
	cmd   *exec.Cmd
	exit  chan struct{} // closed when cmd has ended
	guard *exec.Cmd
	leash io.Closer // closing it makes the guard kill and clean up
}

// newInstance makes an empty directory that belongs to www-data.
func newInstance(name string) (*instance, error) {
	owner, err := webUser()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "entente-"+name+"-")
	if err != nil {
		return nil, err
	}
	in := &instance{dir: dir, owner: owner, env: []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + dir, "TMPDIR=" + filepath.Join(dir, "tmp"), "TZ=UTC", "LANG=C.UTF-8",
	}}
	if err := errors.Join(in.own(dir), in.mkdir("tmp", "log")); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return in, nil
}

// webUser returns the account that Debian runs web applications as.
func webUser() (*syscall.Credential, error) {
	u, err := user.Lookup("www-data")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAbsent, err)
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: starting a server as www-data takes root", ErrAbsent)
	}
	uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(errUID, errGID)
}

// need returns ErrAbsent when one of paths is missing.
func need(system string, paths ...string) error {
	for _, p := range paths {
		if _, err := os.Stat(p); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrAbsent, system, err)
		}
	}
	return nil
}

func (in *instance) path(name string) string { return filepath.Join(in.dir, name) }

func (in *instance) own(path string) error {
	return os.Chown(path, int(in.owner.Uid), int(in.owner.Gid))
}

func (in *instance) mkdir(names ...string) error {
	for _, n := range names {
		for d := n; d != "."; d = filepath.Dir(d) {
			if err := os.MkdirAll(in.path(d), 0o755); err != nil {
				return err
			}
			if err := in.own(in.path(d)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (in *instance) write(name string, content []byte) error {
	if err := os.WriteFile(in.path(name), content, 0o600); err != nil {
		return err
	}
	return in.own(in.path(name))
}

// copyDatabase copies the SQLite file that Debian's package made.
func (in *instance) copyDatabase(from, name string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAbsent, err)
	}
	return in.write(name, b)
}

// command prepares a process of this instance, in a process group of its own.
func (in *instance) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = in.dir
	cmd.Env = slices.Clone(in.env)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: in.owner}
	return cmd
}

// start runs the server that build prepares for a port, until ready answers
// 200 on it. build is called for each try and must not build on what an earlier
// one left. The guard is on before the server is waited for.
func (in *instance) start(ctx context.Context, build func(port int) (*exec.Cmd, error), ready string) error {
	var failures error
	for try := range startTries {
		err := in.tryStart(ctx, build, ready)
		if err == nil {
			return nil
		}
		log, _ := os.ReadFile(in.path("server.log"))
		failures = errors.Join(failures, fmt.Errorf("try %d: %w\n%s", try+1, err, log[max(0, len(log)-4096):]))
		if ctx.Err() != nil {
			break
		}
		in.letGo(false)
	}
	return failures
}

func (in *instance) tryStart(ctx context.Context, build func(port int) (*exec.Cmd, error), ready string) error {
	listener, err := in.listen()
	if err != nil {
		return err
	}
	defer listener.Close()
	cmd, err := build(in.port)
	if err != nil {
		return err
	}
	cmd.ExtraFiles = []*os.File{listener}
	if err := in.run(cmd); err != nil {
		return err
	}
	// From here only the server holds the listener: when it ends, its port refuses.
	listener.Close()
	return in.await(ctx, in.url()+ready)
}

// listen opens the port that the server will inherit: a port that is merely free
// now may be taken in the many seconds before the server asks for it.
func (in *instance) listen() (*os.File, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	in.port = l.Addr().(*net.TCPAddr).Port
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		return nil, err
	}
	if err := syscall.SetNonblock(int(f.Fd()), false); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (in *instance) url() string { return fmt.Sprintf("http://127.0.0.1:%d", in.port) }

func (in *instance) run(cmd *exec.Cmd) error {
	log, err := os.Create(in.path("server.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	in.cmd, in.exit = cmd, make(chan struct{})
	go func() {
		_ = cmd.Wait() // killed in the end; the log tells about other ends
		close(in.exit)
	}()
	// The guard outlives us, but not by long.
	in.guard = exec.Command("/bin/sh", "-c", `cat >/dev/null; kill -s KILL -- "-$1"; read keep <"$2/keep" || rm -rf -- "$2"`,
		"guard", strconv.Itoa(cmd.Process.Pid), in.dir)
	in.guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if in.leash, err = in.guard.StdinPipe(); err == nil {
		err = in.guard.Start()
	}
	if err != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	return err
}

// letGo ends the server, and removes the directory unless it is kept for
// another try. It returns when the process group is dead.
func (in *instance) letGo(remove bool) {
	if in.guard == nil {
		if remove {
			os.RemoveAll(in.dir)
		}
		return
	}
	if !remove {
		_ = os.WriteFile(in.path("keep"), []byte("keep\n"), 0o600)
	}
	_ = syscall.Kill(-in.cmd.Process.Pid, syscall.SIGKILL)
	<-in.exit
	_ = in.leash.Close()
	_ = in.guard.Wait() // its exit code is that of rm
	in.guard = nil
	_ = os.Remove(in.path("keep"))
}

// Close kills the server with all its processes and removes its directory.
// Calling it again does nothing.
func (in *instance) Close() error {
	in.letGo(true)
	if _, err := os.Stat(in.dir); err == nil {
		return fmt.Errorf("%s is still there", in.dir)
	}
	return nil
}

// await polls url until it answers 200, the server ends, or ctx does.
func (in *instance) await(ctx context.Context, url string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if answers(ctx, url) {
			return nil
		}
		select {
		case <-in.exit:
			return fmt.Errorf("%s ended before it answered on %s", filepath.Base(in.cmd.Path), url)
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer on %s: %w", filepath.Base(in.cmd.Path), url, ctx.Err())
		case <-tick.C:
		}
	}
}

// answers asks once: the server's backlog takes the question before it serves.
func answers(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, res.Body)
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// script runs a command of the instance to its end and returns its output.
func (in *instance) script(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := in.command(name, args...)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer stop()
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", name, err, complaints.Bytes())
	}
	return out.Bytes(), nil
}
