package services

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	got, err := parse("KAFKA=127.0.0.1:1\nREDIS_PASSWORD=a=b c\r\nLATER=x\nTLS_CA=/a folder/ca.crt")
	if err != nil {
		t.Fatal(err)
	}
	if want := (Servers{Kafka: "127.0.0.1:1", RedisPassword: "a=b c", TLSCA: "/a folder/ca.crt"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, err := parse("KAFKA=127.0.0.1:1\nnonsense\n"); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a line without = gave %v", err)
	}
}

// TestMissing holds that each way of having no server ends the test with what
// to do about it.
func TestMissing(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	_, noFile := read(filepath.Join(t.TempDir(), "env"))
	for what, err := range map[string]error{"no file": noFile, "no key": reach("Kafka", ""), "nobody listens": reach("Kafka", closed.Addr().String())} {
		if err == nil || !strings.Contains(err.Error(), "run make services") {
			t.Errorf("%s: %v", what, err)
		}
	}

	t.Chdir(t.TempDir())
	if _, err := findRoot(); err == nil {
		t.Error("a root was found where there is none")
	}
	fatal := &recorder{TB: t}
	finished := make(chan struct{})
	go func() { defer close(finished); Redis(fatal) }()
	<-finished
	if fatal.message == "" {
		t.Error("the test went on without a server")
	}
}

// TestScriptKeys holds that every field is a key that the script writes.
func TestScriptKeys(t *testing.T) {
	s := Get(t)
	for name, value := range map[string]string{
		"KafkaSASL": s.KafkaSASL, "KafkaUser": s.KafkaUser, "KafkaPassword": s.KafkaPassword,
		"CassandraTLS": s.CassandraTLS, "CassandraUser": s.CassandraUser, "CassandraPassword": s.CassandraPassword,
		"RedisTLS": s.RedisTLS, "RedisUser": s.RedisUser, "RedisPassword": s.RedisPassword,
		"S3AccessKey": s.S3AccessKey, "S3SecretKey": s.S3SecretKey,
	} {
		if value == "" {
			t.Errorf("no %s", name)
		}
	}
	for _, file := range []string{s.TLSCA, s.TLSCert, s.TLSKey} {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
	Kafka(t)
	Cassandra(t)
	Redis(t)
	S3(t)
}

// TestOwnServer takes a Redis through what a test may do to it.
func TestOwnServer(t *testing.T) {
	s := Start(t, "redis")
	first := s.Pid()
	if got := ping(s.Address, time.Minute); got != "+PONG" {
		t.Fatalf("it answered %q", got)
	}
	s.Pause()
	if got := ping(s.Address, 200*time.Millisecond); got != "" {
		t.Errorf("paused, it answered %q", got)
	}
	s.Resume()
	if got := ping(s.Address, time.Minute); got != "+PONG" {
		t.Errorf("resumed, it answered %q", got)
	}
	for _, end := range []func(){s.Kill, s.Stop} {
		end()
		if err := reach("Redis", s.Address); err == nil {
			t.Error("it listens after its end")
		}
		s.Restart()
		if got := ping(s.Address, time.Minute); got != "+PONG" {
			t.Errorf("started again, it answered %q", got)
		}
	}
	if s.Pid() == first {
		t.Error("it was not started again")
	}
}

// TestForeignProcess holds that nobody is signalled who has got the number of
// a server that is gone.
func TestForeignProcess(t *testing.T) {
	s := Start(t, "redis")
	s.Kill()
	bystander := exec.Command("sleep", "3600")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	record := filepath.Join(s.run, s.name, "pid")
	if err := os.WriteFile(record, fmt.Appendf(nil, "%d 1\n", bystander.Process.Pid), 0o644); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	s.Stop()
	if err := bystander.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error("it was signalled, and reaped:", err)
	}
	bystander.Wait()
	if status := bystander.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGTERM {
		t.Errorf("it was killed by %v, not by this test", status.Signal())
	}
}

// TestCleanup holds that a test leaves no process and no folder.
func TestCleanup(t *testing.T) {
	var s *Server
	t.Run("starts one", func(t *testing.T) { s = Start(t, "redis") })
	if err := reach("Redis", s.Address); err == nil {
		t.Error("it outlived its test")
	}
	if _, err := os.Stat(s.run); !os.IsNotExist(err) {
		t.Errorf("its folder: %v", err)
	}
}

func TestHAProxy(t *testing.T) {
	backend := Start(t, "redis")
	s := StartHAProxy(t, fmt.Sprintf(`
defaults
  mode tcp
  timeout connect 5s
  timeout client 1m
  timeout server 1m
listen redis
  bind "127.0.0.1:${PORT}"
  server one %s
`, backend.Address))
	if got := ping(s.Address, time.Minute); got != "+PONG" {
		t.Errorf("through HAProxy: %q", got)
	}
}

func TestStartFails(t *testing.T) {
	failed := &recorder{TB: t}
	finished := make(chan struct{})
	go func() { defer close(finished); StartHAProxy(failed, "nonsense\n") }()
	<-finished
	if !strings.Contains(failed.message, "nonsense") {
		t.Errorf("it does not say what its log said: %q", failed.message)
	}
}

// ping returns the first line that a Redis answers to PING, "" when none comes in time.
func ping(address string, within time.Duration) string {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return ""
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(within))
	fmt.Fprint(conn, "PING\r\n")
	answer := make([]byte, 64)
	n, _ := conn.Read(answer)
	return strings.TrimRight(string(answer[:n]), "\r\n")
}

// recorder keeps what a test would have failed with, and ends its goroutine.
type recorder struct {
	testing.TB
	message string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatal(args ...any) {
	r.message = fmt.Sprint(args...)
	runtime.Goexit()
}
