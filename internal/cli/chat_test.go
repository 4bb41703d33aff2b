package cli

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/rookery-chat/rookery/chat"
)

func TestKeys(t *testing.T) {
	for in, want := range map[string][]key{
		"aé日":                        {'a', 'é', '日'},
		"\r\x7f\x15\x03":             {keyEnter, keyBackspace, keyKillLine, keyQuit},
		"\x1b[A\x1b[5~\x1b[6~\x1bOF": {keyUp, keyPageUp, keyPageDown, keyEnd},
		"\x1b[200~x\x1b[1;5C":        {keyOther, 'x', keyOther},
		"\x1bx":                      {keyOther, 'x'},
		"\xff\x01":                   {keyOther, keyOther},
		"\u202e":                     {keyOther},
	} {
		var got []key
		rest := []byte(in)
		for len(rest) > 0 {
			k, n := nextKey(rest)
			if n == 0 {
				t.Errorf("%q: stuck at %q", in, rest)
				break
			}
			got, rest = append(got, k), rest[n:]
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q is %v, want %v", in, got, want)
		}
	}
	for _, in := range []string{"", "\x1b", "\x1b[", "\x1b[5", "\xe6\x97"} {
		if k, n := nextKey([]byte(in)); n != 0 {
			t.Errorf("%q is taken as %v before it is whole", in, k)
		}
	}
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte("a\x1b[A\x1b[12;34;56;78;90mé\xff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		for len(in) > 0 {
			_, n := nextKey(in)
			if n == 0 && len(in) > maxSequence+1 {
				t.Fatalf("waits for the rest of %q", in)
			}
			if n == 0 {
				return
			}
			in = in[n:]
		}
	})
}

func FuzzWrap(f *testing.F) {
	f.Add("a long line of words, 日本語 and 👩\u200d🚀", 7)
	f.Fuzz(func(t *testing.T, s string, columns int) {
		if columns < 2 || columns > 1000 || !utf8.ValidString(s) {
			return
		}
		lines := wrap(s, columns)
		for _, line := range lines {
			if textWidth(line) > columns {
				t.Fatalf("%q is wider than %d", line, columns)
			}
		}
		squeeze := func(s string) string { return strings.ReplaceAll(s, " ", "") }
		if squeeze(strings.Join(lines, "")) != squeeze(s) {
			t.Fatalf("%q became %q", s, lines)
		}
	})
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;?]*[a-zA-Z]")

func plain(lines []string) string {
	return escapes.ReplaceAllString(strings.Join(lines, "\n"), "")
}

// dayStart is a fixed time of day today in the local zone.
func dayStart() time.Time {
	return time.Date(2026, 3, 4, 10, 0, 0, 0, time.Local)
}

func viewID(i int) chat.ID {
	return chat.NewID(chat.Ticks(dayStart().Add(time.Duration(i)*time.Minute)), 1, chat.Node{1})
}

func TestViewShowsTicksAndPresence(t *testing.T) {
	v := chatView{me: "alice", peer: "bob", connected: true, known: true, online: true}
	v.put(bubble{id: viewID(3), mine: true, text: "not accepted"})
	v.put(bubble{id: viewID(0), mine: true, text: "one that was read and is long enough", place: 1})
	v.put(bubble{id: viewID(2), mine: true, text: "durable", place: 9})
	v.put(bubble{id: viewID(1), text: "an answer", place: 5})
	v.put(bubble{id: viewID(4), mine: true, text: "refused", failed: "too_large"})
	v.put(bubble{id: viewID(5), mine: true, text: "delivered"})
	v.put(bubble{id: viewID(5), place: 7})
	v.advance(7, 1)
	v.advance(3, 0) // never back
	v.line.text = []rune("typed")
	got := plain(v.render(40, 13, dayStart()))
	want := ` bob, online                      alice 

the beginning of this chat
-- Wed 4 Mar 2026 --
10:00 you: one that was read
and is long enough ✓✓ read
10:01 bob: an answer
10:02 you: durable ✓
10:03 you: not accepted ...
10:04 you: refused failed: too_large
10:05 you: delivered ✓✓

> typed`
	if got != want {
		t.Fatalf("screen\n%s\nwant\n%s", got, want)
	}
	if v.newestOfPeer() != 5 || v.oldest() != viewID(0) {
		t.Fatalf("newest of peer %v, oldest %v", v.newestOfPeer(), v.oldest())
	}
}

func TestViewStatusLine(t *testing.T) {
	now := dayStart()
	v := chatView{peer: "bob", connected: true, typing: now}
	status := func(at time.Time) string {
		lines := v.render(40, 8, at)
		return plain(lines[len(lines)-2 : len(lines)-1])
	}
	if got := status(now); got != "bob is typing" {
		t.Fatal(got)
	}
	if got := status(now.Add(typingFor)); got != "" {
		t.Fatalf("typing for ever: %q", got)
	}
	v.notice = "a message from carol"
	if got := status(now); got != v.notice {
		t.Fatal(got)
	}
	v.connected, v.trouble = false, "unavailable: nobody there"
	if got := status(now); got != v.trouble {
		t.Fatal(got)
	}
	if header := plain(v.render(40, 8, now)[:1]); !strings.Contains(header, "not connected") {
		t.Fatal(header)
	}
	if got := v.render(10, 2, now); len(got) != 1 {
		t.Fatalf("too small a screen has %d lines", len(got))
	}
}

func TestViewScrolls(t *testing.T) {
	v := chatView{peer: "bob", connected: true}
	for i := range 50 {
		v.put(bubble{id: viewID(i), text: fmt.Sprint("message ", i)})
	}
	if top := v.scrollBy(10, 40, 13); top {
		t.Fatal("10 lines up is not the top")
	}
	if got := plain(v.render(40, 13, dayStart())); !strings.Contains(got, "message 39\n") || strings.Contains(got, "message 40") {
		t.Fatal(got)
	}
	if top := v.scrollBy(1000, 40, 13); !top {
		t.Fatal("1000 lines up is the top")
	}
	if got := plain(v.render(40, 13, dayStart())); !strings.Contains(got, "message 0\n") || !strings.Contains(got, "the beginning") {
		t.Fatal(got)
	}
	v.scrollBy(-1000, 40, 13)
	if v.scroll != 0 {
		t.Fatalf("scrolled to %d", v.scroll)
	}
	for i := 50; i < 2*maxBubbles; i++ {
		v.put(bubble{id: viewID(i)})
	}
	if n := len(v.bubbles); n > maxBubbles || !v.more {
		t.Fatalf("%d messages kept, more %v", n, v.more)
	}
}

func TestLineEditor(t *testing.T) {
	var l lineEditor
	for _, k := range []key{' ', 'a', 'b', keyBackspace, '日', keyUp} {
		l.press(k)
	}
	if got := l.take(); got != "a日" || len(l.text) != 0 {
		t.Fatalf("took %q", got)
	}
	l.press('x')
	if !l.press(keyKillLine) || l.press(keyKillLine) || l.press(keyBackspace) {
		t.Fatal("an empty line changed")
	}
}

// Two conversations without a terminal: what one writes the other gets, and the
// ticks come back.
func TestChatLineByLine(t *testing.T) {
	s := startTestServer(t)
	aliceIn, aliceTypes, _ := os.Pipe()
	bobIn, bobTypes, _ := os.Pipe()
	alice := s.start(aliceIn, "chat", "--as", "alice", "--with", "bob")
	bob := s.start(bobIn, "chat", "--as", "bob", "--with", "alice", "--json")
	fmt.Fprint(aliceTypes, "hello\n\n")
	if r := bob.record(); r["type"] != "message" || r["content"] != "hello" || r["from"] != "alice" {
		t.Fatalf("bob got %v", r)
	}
	for line := ""; line != "✓✓ read hello"; {
		if line = alice.line(); !strings.HasSuffix(line, " hello") {
			t.Fatalf("alice got %q", line)
		}
	}
	fmt.Fprintln(bobTypes, "hi")
	if line := alice.line(); !strings.HasSuffix(line, "  bob: hi") {
		t.Fatalf("alice got %q", line)
	}
	for r := bob.record(); r["status"] != "read"; r = bob.record() {
		if r["type"] != "status" {
			t.Fatalf("bob got %v", r)
		}
	}
	aliceTypes.Close()
	alice.wantExit(ExitOK) // all that was written is accepted
	bob.stop()
	bob.wantExit(ExitOK)
	bobTypes.Close()
}

// terminalPair opens a pseudo-terminal: what the test types and reads, and what
// the command has.
func terminalPair(t *testing.T) (test, command *os.File) {
	t.Helper()
	test, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal here: %v", err)
	}
	raw, err := test.SyscallConn() // test.Fd would make reads of it block, beyond its Close
	if err != nil {
		t.Fatal(err)
	}
	var n int
	raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err != nil {
			return
		}
		if n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN); err != nil {
			return
		}
		err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: 10, Col: 60})
	})
	if err != nil {
		t.Fatal(err)
	}
	command, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return test, command
}

// watched is what a terminal was sent.
type watched struct {
	mu   sync.Mutex
	text string
	more chan struct{}
}

func watch(f *os.File) *watched {
	w := &watched{more: make(chan struct{}, 1)}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := f.Read(buf)
			if err != nil {
				return
			}
			w.mu.Lock()
			w.text += string(buf[:n])
			w.mu.Unlock()
			select {
			case w.more <- struct{}{}:
			default:
			}
		}
	}()
	return w
}

// until waits for a text on the screen, whatever its colours.
func (w *watched) until(t *testing.T, want string) {
	t.Helper()
	w.wait(t, want, func(sent string) bool { return strings.Contains(escapes.ReplaceAllString(sent, ""), want) })
}

func (w *watched) wait(t *testing.T, what string, enough func(sent string) bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		w.mu.Lock()
		sent := w.text
		w.mu.Unlock()
		if enough(sent) {
			return
		}
		select {
		case <-w.more:
		case <-deadline:
			t.Fatalf("no %q on the screen:\n%q", what, sent[max(0, len(sent)-500):])
		}
	}
}

func TestChatOnATerminal(t *testing.T) {
	s := startTestServer(t)
	test, tty := terminalPair(t)
	screen := watch(test)
	code := make(chan int, 1)
	env := &Env{Stdin: tty, Stdout: tty, Stderr: new(strings.Builder), Getenv: func(string) string { return "" }}
	go func() {
		code <- Main(t.Context(), env, []string{"chat", "--as", "alice", "--with", "bob", "--url", s.url, "--data", s.data})
	}()
	screen.until(t, "alice")
	test.WriteString("hello\r")
	screen.until(t, "bob has not been here yet") // and what is said waits
	bobIn, bobTypes, _ := os.Pipe()
	bob := s.start(bobIn, "chat", "--as", "bob", "--with", "alice")
	screen.until(t, "bob, online")
	screen.until(t, "you: hello ✓✓ read")
	fmt.Fprintln(bobTypes, "good day")
	screen.until(t, "bob: good day")
	bob.stop()
	screen.until(t, "bob, last seen")
	bobTypes.Close()
	test.WriteString("\x03")
	if got := <-code; got != ExitOK {
		t.Fatalf("exit %d", got)
	}
	screen.wait(t, "the other screen", func(sent string) bool { return strings.HasSuffix(sent, leaveScreen) })
	test.Close() // wakes who reads keys, too
	tty.Close()
}
