package services

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const script = "scripts/services.sh"

// Server is a process of a test's own, which the test may kill, pause and
// start again. It ends with the test, and when the test is killed.
type Server struct {
	Address string // in the clear; after Restart the same
	Servers        // its other addresses, and how to get in

	t    testing.TB
	name string
	root string // of the module
	run  string // the folder it runs in
}

// Start starts a server and returns when it answers. What is "kafka" (one
// broker; 400 MB and some seconds), "cassandra" (1.4 GB and 10 seconds or
// more), "redis" or "s3".
func Start(t testing.TB, what string) *Server {
	t.Helper()
	root, run := prepare(t)
	return bringUp(t, root, run, what, what)[0]
}

// StartKafka3 starts a cluster of three brokers. Topics have three replicas,
// two of which have to be in sync for acknowledgements of all.
func StartKafka3(t testing.TB) []*Server {
	t.Helper()
	root, run := prepare(t)
	return bringUp(t, root, run, "kafka3", "kafka-1", "kafka-2", "kafka-3")
}

// StartHAProxy starts HAProxy with a configuration, which binds to
// "127.0.0.1:${PORT}", with the quotes.
func StartHAProxy(t testing.TB, config string) *Server {
	t.Helper()
	root, run := prepare(t)
	dir := filepath.Join(run, "haproxy")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "haproxy.cfg"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return bringUp(t, root, run, "haproxy", "haproxy")[0]
}

func prepare(t testing.TB) (root, run string) {
	t.Helper()
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	return root, filepath.Join(t.TempDir(), "run")
}

// bringUp starts what, which is the named servers.
func bringUp(t testing.TB, root, run, what string, names ...string) []*Server {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			logTails(t, run, names)
		}
		if err := command(root, run, "clean"); err != nil {
			t.Error(err)
		}
	})
	if err := command(root, run, "start", what); err != nil {
		t.Fatal(err)
	}
	all, err := read(filepath.Join(run, "env"))
	if err != nil {
		t.Fatal(err)
	}
	addresses := strings.Split(addressesOf(all, what), ",")
	servers := make([]*Server, len(names))
	for i, name := range names {
		servers[i] = &Server{Address: addresses[i], Servers: all, t: t, name: name, root: root, run: run}
	}
	return servers
}

func addressesOf(s Servers, what string) string {
	return map[string]string{
		"kafka": s.Kafka, "kafka3": s.Kafka3, "cassandra": s.Cassandra, "redis": s.Redis, "s3": s.S3, "haproxy": s.HAProxy,
	}[what]
}

// Pid returns the number of its process.
func (s *Server) Pid() int {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.run, s.name, "pid"))
	if err != nil {
		s.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.Fields(string(text))[0])
	if err != nil {
		s.t.Fatal(err)
	}
	return pid
}

// Kill ends it with SIGKILL, and returns when it is gone. Its data stays.
func (s *Server) Kill() { s.t.Helper(); s.do("kill") }

// Stop ends it as its operator would, and returns when it is gone.
func (s *Server) Stop() { s.t.Helper(); s.do("stop") }

// Pause stops the process where it is: its connections stay and say nothing.
func (s *Server) Pause() { s.t.Helper(); s.do("pause") }

// Resume undoes Pause.
func (s *Server) Resume() { s.t.Helper(); s.do("resume") }

// Restart starts it after Kill or Stop, at the same addresses with the same
// data, and returns when it answers.
func (s *Server) Restart() {
	s.t.Helper()
	s.do("start")
	all, err := read(filepath.Join(s.run, "env"))
	if err != nil {
		s.t.Fatal(err)
	}
	if all != s.Servers {
		s.t.Fatalf("%s has other ports than before: somebody took one", s.name)
	}
}

func (s *Server) do(what string) {
	s.t.Helper()
	if err := command(s.root, s.run, what, s.name); err != nil {
		s.t.Fatal(err)
	}
}

// command runs the script, which alone knows how to signal none but ours.
func command(root, run string, args ...string) error {
	cmd := exec.Command(filepath.Join(root, script), args...)
	cmd.Env = append(os.Environ(), "SERVICES_RUN="+run, "SERVICES_OWNER="+strconv.Itoa(os.Getpid()))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", script, strings.Join(args, " "), err, out)
	}
	return nil
}

func logTails(t testing.TB, run string, names []string) {
	const tailBytes = 4 << 10
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(run, name, "log"))
		if err != nil {
			continue
		}
		t.Logf("the end of %s's log:\n%s", name, text[max(0, len(text)-tailBytes):])
	}
}
