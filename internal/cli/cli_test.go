package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/internal/doctor"
	"github.com/rookery-chat/rookery/pipeline/local"
)

// runCommand runs a command line with some variables, and returns the exit
// code and what was printed.
func runCommand(t *testing.T, environ []string, args ...string) (code int, out, errOut string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	env := &Env{
		Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr,
		Getenv:  func(name string) string { return lookUp(environ, name) },
		Environ: func() []string { return environ },
	}
	code = Main(context.Background(), env, args)
	return code, stdout.String(), stderr.String()
}

func lookUp(environ []string, name string) string {
	for _, e := range environ {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"--help"}, {"-h"}, {"help", "help"}, {"help", "--help"}, {"--help", "-h"}} {
		code, out, _ := runCommand(t, nil, args...)
		if code != ExitOK {
			t.Errorf("%v: exit %d", args, code)
		}
		for _, c := range commands() {
			if !strings.Contains(out, "\n  "+c.name+" ") {
				t.Errorf("%v: no word of %s", args, c.name)
			}
		}
	}
	code, out, errOut := runCommand(t, nil)
	if code != ExitUsage || out != "" || !strings.Contains(errOut, "Usage: rookery COMMAND") {
		t.Errorf("no arguments: exit %d, %q, %q", code, out, errOut)
	}
}

// TestEveryCommandHelps holds that no command starts anything when it is asked
// for help, and none takes what it does not know.
func TestEveryCommandHelps(t *testing.T) {
	for _, c := range commands() {
		if c.name == "bench" || c.name == "version" {
			continue
		}
		code, out, errOut := runCommand(t, nil, "help", c.name)
		if code != ExitOK || !strings.Contains(out, "rookery "+c.name) || errOut != "" {
			t.Errorf("help %s: exit %d\n%s%s", c.name, code, out, errOut)
		}
		if c.name == "config" {
			continue
		}
		code, _, errOut = runCommand(t, nil, c.name, "--xyzzy")
		if code != ExitUsage || !strings.Contains(errOut, "--xyzzy") {
			t.Errorf("%s --xyzzy: exit %d\n%s", c.name, code, errOut)
		}
	}
}

func TestUnknownCommand(t *testing.T) {
	code, _, errOut := runCommand(t, nil, "srve")
	if code != ExitUsage || !strings.Contains(errOut, `unknown command "srve"; did you mean "serve"?`) {
		t.Errorf("exit %d: %s", code, errOut)
	}
}

func TestVersion(t *testing.T) {
	if code, out, _ := runCommand(t, nil, "version"); code != ExitOK || !strings.HasPrefix(out, "rookery ") {
		t.Errorf("exit %d: %q", code, out)
	}
	setting := func(k, v string) debug.BuildSetting { return debug.BuildSetting{Key: k, Value: v} }
	for _, c := range []struct {
		info debug.BuildInfo
		want string
	}{
		{debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "v1.2.3"},
		{debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "devel"},
		{debug.BuildInfo{Settings: []debug.BuildSetting{setting("vcs.revision", "0123456789abcdef"), setting("vcs.modified", "false")}}, "0123456789ab"},
		{debug.BuildInfo{Settings: []debug.BuildSetting{setting("vcs.revision", "0123456789abcdef"), setting("vcs.modified", "true")}}, "0123456789ab+dirty"},
	} {
		if got := versionOf(&c.info); got != c.want {
			t.Errorf("%+v: %q, want %q", c.info, got, c.want)
		}
	}
}

func TestConfigCommands(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rookery.yaml")
	code, out, _ := runCommand(t, nil, "config", "default")
	if code != ExitOK || !strings.Contains(out, "\nsession:\n") {
		t.Fatalf("default: exit %d\n%s", code, out)
	}
	if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		environ []string
		args    []string
		code    int
		words   []string
	}{
		"the printed file holds":   {nil, []string{"check", "--config", file}, ExitOK, []string{"ok: ", file + ":"}},
		"nothing set":              {nil, []string{"check"}, ExitOK, []string{"ok: keys set: 0, at their defaults: "}},
		"a flag":                   {nil, []string{"check", "--listen=127.0.0.1:9"}, ExitOK, []string{"listen = 127.0.0.1:9 (--listen)"}},
		"faults together":          {[]string{"ROOKERY_LISTN=x"}, []string{"check", "--config", file, "--session-idle=soon"}, ExitConfig, []string{"ROOKERY_LISTEN", "soon"}},
		"an unknown flag":          {nil, []string{"check", "--listn", "x"}, ExitUsage, []string{`did you mean "--listen"`}},
		"several, and a bad value": {nil, []string{"check", "--listn=x", "--dat=y", "--admin=z"}, ExitConfig, []string{"--listen", "--data", "--admin"}},
		"an argument":              {nil, []string{"check", "listen"}, ExitUsage, []string{"takes no arguments"}},
		"help":                     {nil, []string{"check", "--help"}, ExitOK, []string{"--session-heartbeat", "Silence after"}},
		"explain one":              {[]string{"ROOKERY_DATA=/x"}, []string{"explain", "data"}, ExitOK, []string{"/x (ROOKERY_DATA)", "Folder of the log"}},
		"explain a group":          {nil, []string{"explain", "retention"}, ExitOK, []string{"retention.inbox", "retention.messages"}},
		"explain all":              {nil, []string{"explain"}, ExitOK, []string{"listen\n", "drain.url\n"}},
		"explain what is not":      {nil, []string{"explain", "session.hartbeat"}, ExitUsage, []string{`did you mean "session.heartbeat"`}},
		"explain a file's value":   {nil, []string{"explain", "--config", file, "data"}, ExitOK, []string{file + ":"}},
		"explain beside faults":    {[]string{"ROOKERY_X=1"}, []string{"explain", "data"}, ExitOK, []string{"faulty", "Folder of the log"}},
		"default takes nothing":    {nil, []string{"default", "x"}, ExitUsage, []string{"no arguments"}},
		"no verb":                  {nil, nil, ExitUsage, []string{"Usage"}},
		"a wrong verb":             {nil, []string{"chek"}, ExitUsage, []string{`did you mean "check"`}},
	} {
		code, out, errOut := runCommand(t, c.environ, append([]string{"config"}, c.args...)...)
		if code != c.code {
			t.Errorf("%s: exit %d, want %d\n%s%s", name, code, c.code, out, errOut)
		}
		for _, w := range c.words {
			if !strings.Contains(out+errOut, w) {
				t.Errorf("%s: no %q in\n%s%s", name, w, out, errOut)
			}
		}
	}
}

func TestEnvWithoutEnviron(t *testing.T) {
	env := &Env{Getenv: func(name string) string { return lookUp([]string{"ROOKERY_DATA=/x", "ROOKERY_NOTHING=1"}, name) }}
	if got := env.environ(); len(got) != 1 || got[0] != "ROOKERY_DATA=/x" {
		t.Errorf("%q", got)
	}
}

func TestDoctorCommand(t *testing.T) {
	data := t.TempDir()
	args := []string{"doctor", "--data", data, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--web=127.0.0.1:0"}
	code, out, errOut := runCommand(t, nil, args...)
	if code != ExitOK || !strings.Contains(out, "data folder") || !strings.Contains(out, " 0 failures") {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	code, out, _ = runCommand(t, nil, "doctor", "--json", "--data", data, "--listen", l.Addr().String(), "--admin=127.0.0.1:0", "--web=127.0.0.1:0")
	if code != ExitDoctor {
		t.Errorf("a taken port: exit %d", code)
	}
	taken := 0
	for line := range strings.Lines(out) {
		var f doctor.Finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if f.Status == doctor.Fail {
			taken++
		}
	}
	if taken != 1 {
		t.Errorf("%d failures, want the taken port alone\n%s", taken, out)
	}
}

func TestEchoFaults(t *testing.T) {
	if code, _, errOut := runCommand(t, nil, "echo", "--log-level=loud"); code != ExitUsage || !strings.Contains(errOut, "loud") {
		t.Errorf("exit %d: %s", code, errOut)
	}
	if code, _, errOut := runCommand(t, nil, "echo", "--listen=nowhere", "--loops=-1"); code != ExitUsage || !strings.Contains(errOut, "rookery: --listen is") || !strings.Contains(errOut, "rookery: --loops is") {
		t.Errorf("exit %d: %s", code, errOut)
	}
}

// Who finds a port taken is told what to do.
func TestServeWhereSomebodyListens(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for listen, admin := range map[string]string{taken.Addr().String(): "127.0.0.1:0", "127.0.0.1:0": taken.Addr().String()} {
		code, _, errOut := runCommand(t, nil, "serve", "--listen", listen, "--admin", admin, "--web=127.0.0.1:0", "--data", t.TempDir())
		if code != ExitFailed || !strings.Contains(errOut, "address already in use") || !strings.Contains(errOut, "--listen, --web and --admin") {
			t.Errorf("exit %d: %s", code, errOut)
		}
	}
}

// TestEchoRuns starts echo, waits for its word that it is ready, and ends it.
func TestEchoRuns(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	out := &lineWriter{lines: make(chan string, 8)}
	env := &Env{Stdout: out, Stderr: &bytes.Buffer{}, Getenv: func(string) string { return "" }}
	done := make(chan int, 1)
	go func() { done <- Main(ctx, env, []string{"echo", "--listen=127.0.0.1:0", "--loops=1"}) }()
	select {
	case line := <-out.lines:
		address, ok := strings.CutPrefix(line, "ready: ws://")
		if !ok {
			t.Errorf("it said %q", line)
		}
		c, err := net.Dial("tcp", strings.TrimSpace(address))
		if err != nil {
			t.Error(err)
		} else {
			c.Close()
		}
	case code := <-done:
		t.Fatalf("it ended with %d", code)
	}
	cancel()
	if code := <-done; code != ExitOK {
		t.Errorf("exit %d", code)
	}
}

// lineWriter sends what is written to a channel.
type lineWriter struct{ lines chan string }

func (w *lineWriter) Write(b []byte) (int, error) { w.lines <- string(b); return len(b), nil }

// TestExitCodes holds docs/operations.md to the table.
func TestExitCodes(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	if ExitDisk != local.ExitDisk {
		t.Errorf("the log ends the process with %d", local.ExitDisk)
	}
	seen := map[int]bool{}
	for _, f := range exitFacts {
		if seen[f.code] {
			t.Errorf("%d stands there twice", f.code)
		}
		seen[f.code] = true
		if row := fmt.Sprintf("| %d | %s |\n", f.code, f.text); !strings.Contains(string(text), row) {
			t.Errorf("docs/operations.md has no line\n%s", row)
		}
	}
}
