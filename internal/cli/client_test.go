package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/clienttest"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/server"
	"github.com/rookery-chat/rookery/packet"
)

// testServer is a real server with a data folder.
type testServer struct {
	t              *testing.T
	url, web, data string
	flags          []string // that all commands get
}

// plain has all commands do without encryption.
func (s *testServer) plain() *testServer {
	s.flags = []string{"--plain"}
	return s
}

// hasKeys has users come once, so that others can encrypt for them.
func (s *testServer) hasKeys(users ...string) {
	s.t.Helper()
	for _, u := range users {
		if code, _, errOut := s.run("send", "--as", u, "--to", u, "note", "--wait", "durable"); code != ExitOK {
			s.t.Fatal(code, errOut)
		}
	}
}

func startTestServer(t *testing.T) *testServer {
	t.Helper()
	c := config.Default()
	c.Listen, c.Admin, c.Web.Listen, c.Data = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", filepath.Join(t.TempDir(), "data")
	c.Pipeline.SegmentBytes, c.Store.MemtableBytes, c.Store.CacheBytes = 4<<20, 4<<20, 8<<20
	c.Drain.Grace = 2 * time.Second
	c.Session.HistoryRows = 1 // a page each, so that commands go through pages
	s, err := server.Start(t.Context(), c, server.Options{Version: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(context.Background()) })
	return &testServer{t: t, url: "ws://" + s.Addr().String(), web: "http://" + s.WebAddr().String(), data: c.Data}
}

// started is a command that runs.
type started struct {
	t      *testing.T
	out    *bufio.Reader
	errOut *strings.Builder
	stop   context.CancelFunc
	code   chan int
}

// start runs a command against the server until it ends or is stopped.
func (s *testServer) start(in io.Reader, args ...string) *started {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	reader, writer, err := os.Pipe() // which has room: no command waits for its test
	if err != nil {
		s.t.Fatal(err)
	}
	st := &started{t: s.t, out: bufio.NewReader(reader), errOut: new(strings.Builder), stop: cancel, code: make(chan int, 1)}
	env := &Env{Stdin: in, Stdout: writer, Stderr: st.errOut, Getenv: func(string) string { return "" }}
	args = append(append(args, "--url", s.url, "--data", s.data), s.flags...)
	go func() {
		code := Main(ctx, env, args)
		writer.Close()
		st.code <- code
	}()
	s.t.Cleanup(func() { cancel(); reader.Close() })
	return st
}

func (st *started) line() string {
	st.t.Helper()
	s, err := st.out.ReadString('\n')
	if err != nil {
		st.t.Fatalf("no more lines (%v); stderr:\n%s", err, st.errOut)
	}
	return strings.TrimSuffix(s, "\n")
}

// record returns the next line, a JSON object.
func (st *started) record() map[string]any {
	st.t.Helper()
	var r map[string]any
	if line := st.line(); json.Unmarshal([]byte(line), &r) != nil {
		st.t.Fatalf("%q is no JSON object", line)
	}
	return r
}

func (st *started) wantExit(code int) {
	st.t.Helper()
	if got := <-st.code; got != code {
		st.t.Fatalf("exit %d, want %d; stderr:\n%s", got, code, st.errOut)
	}
}

// run runs a command to its end.
func (s *testServer) run(args ...string) (code int, out, errOut string) {
	s.t.Helper()
	st := s.start(strings.NewReader(""), args...)
	all, _ := io.ReadAll(st.out)
	return <-st.code, string(all), st.errOut.String()
}

// The stranger's two minutes: a tail, a send, and every tick of it.
func TestSendAndTail(t *testing.T) {
	s := startTestServer(t)
	tail := s.start(nil, "tail", "--as", "bob", "--json", "--count", "2")
	if r := tail.record(); r["type"] != "caught_up" {
		t.Fatalf("first %v", r)
	}
	code, out, errOut := s.run("send", "--as", "alice", "--to", "bob", "hi", "there", "--wait", "read", "--timeout", "20s")
	lines := strings.Split(out, "\n")
	if code != ExitOK || len(lines) != 5 {
		t.Fatalf("exit %d\n%s%s", code, out, errOut)
	}
	for i, want := range []string{"id ", "durable ", "delivered ", "read "} {
		if !strings.HasPrefix(lines[i], want) {
			t.Fatalf("line %d is %q, want %q", i, lines[i], want)
		}
	}
	m := tail.record()
	if m["type"] != "message" || m["from"] != "alice" || m["to"] != "bob" || m["content"] != "hi there" || !strings.HasSuffix(lines[0], m["id"].(string)) {
		t.Fatalf("message %v, sent %q", m, lines[0])
	}
	sent := s.start(strings.NewReader("from a pipe\n"), "send", "--as", "alice", "--to", "bob", "-", "--json", "--wait", "durable")
	id, durable := sent.record(), sent.record()
	sent.wantExit(ExitOK)
	if id["type"] != "id" || durable["type"] != "durable" || durable["ms"].(float64) <= 0 || durable["position"] == "" {
		t.Fatalf("records %v %v", id, durable)
	}
	if m := tail.record(); m["content"] != "from a pipe\n" || m["id"] != id["id"] {
		t.Fatalf("message %v", m)
	}
	tail.wantExit(ExitOK)

	code, out, _ = s.run("tail", "--as", "bob", "--from", "start", "--count", "1")
	if code != ExitOK || !strings.Contains(out, "  alice: hi there\n") {
		t.Fatalf("from start: exit %d, %q", code, out)
	}
	if code, _, _ = s.run("tail", "--as", "bob", "--from", "soon"); code != ExitUsage {
		t.Fatalf("from soon: exit %d", code)
	}
	if code, _, errOut = s.run("tail", "--as", "bob", "--from", "99999999"); code != ExitRefused || strings.Count(errOut, "bad_position") != 1 {
		t.Fatalf("from a position there is none: exit %d, %s", code, errOut)
	}
	stopped := s.start(nil, "tail", "--as", "bob", "--json")
	stopped.record()
	stopped.stop()
	stopped.wantExit(ExitOK)
}

func TestSendToWhoIsAway(t *testing.T) {
	s := startTestServer(t).plain()
	code, out, errOut := s.run("send", "--as", "alice", "--to", "carol", "x", "--timeout", "500ms")
	if code != ExitOK || !strings.Contains(out, "durable") || strings.Contains(out, "delivered") || !strings.Contains(errOut, "carol gets it when") {
		t.Fatalf("exit %d\n%s%s", code, out, errOut)
	}
	code, _, errOut = s.run("send", "--as", "alice", "--to", "carol", "y", "--timeout", "500ms", "--wait", "delivered")
	if code != ExitTimeout || !strings.Contains(errOut, "not delivered after 500ms") {
		t.Fatalf("exit %d\n%s", code, errOut)
	}
	code, out, _ = s.run("tail", "--as", "carol", "--count", "2")
	if code != ExitOK || !strings.Contains(out, "alice: x\n") || !strings.Contains(out, "alice: y\n") {
		t.Fatalf("exit %d\n%s", code, out)
	}
}

func TestHistoryAndChats(t *testing.T) {
	s := startTestServer(t)
	s.hasKeys("alice", "bob")
	for i := range 5 {
		if code, _, errOut := s.run("send", "--as", "alice", "--to", "bob", fmt.Sprint("m", i), "--wait", "durable"); code != ExitOK {
			t.Fatal(errOut)
		}
	}
	s.run("send", "--as", "carol", "--to", "alice", "from carol", "--wait", "durable")
	// Being durable is before being stored, which history and chats show.
	var out string
	for !strings.Contains(out, "from carol") {
		_, out, _ = s.run("chats", "--as", "alice", "--json")
	}
	var rows []chatRecord
	for line := range strings.Lines(out) {
		var r chatRecord
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, r)
	}
	rows = slices.DeleteFunc(rows, func(r chatRecord) bool { return r.Peer == "alice" }) // her note
	if len(rows) != 2 || rows[0].Peer != "carol" || !rows[0].Unread || rows[1].Peer != "bob" || rows[1].Unread || *rows[1].Last.Content != "m4" || rows[1].Last.Status != "sent" {
		t.Fatalf("chats\n%s", out)
	}
	if code, out, _ := s.run("chats", "--as", "alice", "--limit", "1"); code != ExitOK || !strings.HasPrefix(out, "* carol") || strings.Count(out, "\n") != 1 {
		t.Fatalf("exit %d\n%s", code, out)
	}

	code, out, _ := s.run("history", "--as", "alice", "--with", "bob", "--limit", "2", "--json")
	var page []messageRecord
	for line := range strings.Lines(out) {
		var r messageRecord
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		page = append(page, r)
	}
	if code != ExitOK || len(page) != 2 || *page[0].Content != "m4" || *page[1].Content != "m3" || page[0].Status != "sent" {
		t.Fatalf("exit %d\n%s", code, out)
	}
	code, out, _ = s.run("history", "--as", "bob", "--with", "alice", "--before", page[1].ID)
	if code != ExitOK || strings.Count(out, "\n") != 3 || !strings.Contains(out, "alice: m2\n") || strings.Contains(out, "(sent)") {
		t.Fatalf("exit %d\n%s", code, out)
	}
}

// Sends at a time are devices of their own, and wait for each other when there are
// no more of these.
func TestSendsAtTheSameTime(t *testing.T) {
	s := startTestServer(t)
	s.hasKeys("bob")
	var all []*started
	for i := range 2 + deviceSpare {
		all = append(all, s.start(nil, "send", "--as", "alice", "--to", "bob", fmt.Sprint(i), "--wait", "durable"))
	}
	for _, st := range all {
		io.ReadAll(st.out)
		st.wantExit(ExitOK)
	}
}

func TestClientFaults(t *testing.T) {
	s := startTestServer(t)
	foreign := filepath.Join(t.TempDir(), "alice.send.state")
	if err := os.WriteFile(foreign, []byte("not a state file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(foreign), "broken.device"), []byte("no name\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	send := []string{"send", "--as", "alice", "--to", "bob", "x"}
	for _, x := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"send"}, ExitUsage, "--to USER"},
		{[]string{"send", "--to", "bob", "x"}, ExitUsage, "--as USER"},
		{[]string{"send", "--as", "alice", "--to", "bob"}, ExitUsage, "no text"},
		{append(send, "--wait", "soon"), ExitUsage, "soon"},
		{append(send, "--url", "http://x", "--token", "x"), ExitUsage, `rookery: --url "http://x" is not of the form ws://host:port`},
		{append(send, "--device", "a b"), ExitUsage, `rookery: --device "a b": a device`},
		{append(send, "--as", "al ice"), ExitUsage, `rookery: --as "al ice": a user`},
		{[]string{"tail", "--as", "alice", "--from", "bogus"}, ExitUsage, `rookery: --from "bogus" is not`},
		{[]string{"send", "--as", "alice", "--to", "b b", "x"}, ExitRefused, "user's name"},
		{append(send, "--url", "ws://chat.example:8080"), ExitUsage, "on this machine only"},
		{append(send, "--url", "ws://127.0.0.1:1"), ExitUnreachable, "is the server running"},
		{append(send, "--data", "/nowhere/at/all"), ExitUsage, "'rookery serve' makes it"},
		{append(send, "--token", "x.y.z", "--plain"), ExitRefused, "unauthorized"},
		{append(send, "--token", "x.y.z"), ExitUsage, "--state DIR"},
		{append(send, "--token", "@/nowhere/at/all", "--plain"), ExitUnreachable, "Options.Token"},
		{append(send, "--state", filepath.Dir(foreign), "--device", "send"), ExitData, "damaged"},
		{append(send, "--state", filepath.Dir(foreign), "--as", "broken"), ExitData, "broken.device"},
		{[]string{"history", "--as", "alice"}, ExitUsage, "--with"},
		{[]string{"history", "--as", "alice", "--with", "bob", "--before", "x"}, ExitUsage, "message id"},
		{[]string{"history", "--as", "alice", "--with", "bob", "--limit", "0"}, ExitUsage, "--limit"},
		{[]string{"chats", "--as", "alice", "--limit", "-1"}, ExitUsage, "--limit"},
		{[]string{"chats", "--as", "alice", "more"}, ExitUsage, "no arguments"},
		{[]string{"tail", "--as", "alice", "more"}, ExitUsage, "no arguments"},
		{[]string{"chat", "--as", "alice"}, ExitUsage, "--with"},
	} {
		// What a case gives comes last, as the last one of a flag counts.
		args := append([]string{x.args[0], "--url", s.url, "--data", s.data}, x.args[1:]...)
		var out, errOut strings.Builder
		env := &Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errOut, Getenv: func(string) string { return "" }}
		if code := Main(context.Background(), env, args); code != x.code || !strings.Contains(errOut.String(), x.want) {
			t.Errorf("%v: exit %d, want %d and %q:\n%s", x.args, code, x.code, x.want, errOut.String())
		}
		for line := range strings.Lines(errOut.String()) {
			if !strings.HasPrefix(line, "rookery: ") {
				t.Errorf("%v: a line without a name: %q", x.args, line)
			}
		}
	}
}

func TestExitOf(t *testing.T) {
	for want, errs := range map[int][]error{
		ExitOK:          {nil},
		ExitRefused:     {chat.Errorf(chat.CodeReplaced, ""), chat.Errorf(chat.CodeUnauthorized, ""), chat.Errorf(chat.CodeTooLarge, "")},
		ExitUnreachable: {chat.Errorf(chat.CodeBusy, ""), chat.Errorf(chat.CodeUnavailable, ""), fmt.Errorf("%w: %w", context.DeadlineExceeded, chat.Errorf(chat.CodeUnavailable, ""))},
		ExitTimeout:     {fmt.Errorf("x: %w", context.DeadlineExceeded)},
		ExitInterrupted: {fmt.Errorf("x: %w", context.Canceled)},
		ExitData:        {fmt.Errorf("%w x: %w", client.ErrState, client.ErrInUse)},
		ExitFailed:      {errors.New("x")},
	} {
		for _, err := range errs {
			if got := exitOf(err); got != want {
				t.Errorf("%v: exit %d, want %d", err, got, want)
			}
		}
	}
}

// A message that the server did not accept in time is sent by the next command.
func TestUnacceptedMessageIsKept(t *testing.T) {
	server, err := clienttest.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	dir := t.TempDir()
	args := []string{"send", "--as", "alice", "--to", "bob", "--token", "x", "--state", dir, "--url", server.URL, "--timeout", "300ms", "--plain", "first"}
	ids := make(chan chat.ID, 2)
	go func() {
		for range 2 {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			conn.Welcome(packet.Welcome{})
			var m packet.Send
			if conn.Expect(packet.TypeSend, &m) == nil {
				ids <- m.ID // and no answer
			}
		}
	}()
	for i, want := range []string{"the next send of this device sends it first", "from earlier commands, and sent first: 1"} {
		code, _, errOut := runCommand(t, nil, args...)
		if code != ExitTimeout || !strings.Contains(errOut, want) {
			t.Fatalf("command %d: exit %d, %s", i, code, errOut)
		}
	}
	if first, again := <-ids, <-ids; first != again {
		t.Fatalf("the second command sent %v first, not %v", again, first)
	}
}

func TestServerThatRefuses(t *testing.T) {
	server, err := clienttest.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	server.Decide(func(*frame.Request) frame.Decision { return frame.Decision{Status: 503, Reason: "busy: come later"} })
	code, _, errOut := runCommand(t, nil, "chats", "--as", "alice", "--token", "x", "--url", server.URL)
	if code != ExitUnreachable || !strings.Contains(errOut, "busy: come later") {
		t.Fatalf("exit %d, %s", code, errOut)
	}
}

func TestRecordsOfMessages(t *testing.T) {
	m := chat.Message{ID: chat.NewID(chat.Ticks(time.UnixMilli(1_700_000_000_123)), 1, chat.Node{1}), Suite: 9, Content: []byte("secret"), At: 1_700_000_000_456, Expires: 1_700_000_001_000}
	r := recordOf("message", &m)
	if r.Content != nil || r.Base64 != "c2VjcmV0" || r.Sent != "2023-11-14T22:13:20.123Z" || r.Taken != "2023-11-14T22:13:20.456Z" || r.Expires != "2023-11-14T22:13:21.000Z" {
		t.Fatalf("%+v", r)
	}
	if got := textOf(&m); got != "<6 bytes, suite 9>" {
		t.Fatal(got)
	}
	m.Suite, m.Content, m.Media = 0, []byte("\x1b[31mred\r\n\u202eevil 👩\u200d🚀"), "https://x"
	if got := textOf(&m); got != "\ufffd[31mred\ufffd \ufffdevil 👩\u200d🚀 <https://x>" {
		t.Fatalf("%q", got)
	}
}
