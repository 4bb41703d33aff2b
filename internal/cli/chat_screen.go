package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/term"

	"github.com/rookery-chat/rookery/client"
)

// The terminal's other screen, so that what was there comes back at the end.
const (
	enterScreen = "\x1b[?1049h\x1b[2J"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
)

// screen is a conversation over the whole terminal.
type screen struct {
	*talk
	out           *os.File
	columns, rows int
	in            []byte // of keys that have not come whole
	over          bool
	err           error
}

// onScreen runs the conversation on a terminal in raw mode.
func (t *talk) onScreen(ctx context.Context, in, out *os.File) int {
	old, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		t.env.Errorf("terminal: %v", err)
		return ExitFailed
	}
	out.WriteString(enterScreen)
	s := &screen{talk: t, out: out}
	s.run(ctx, in)
	out.WriteString(leaveScreen)
	term.Restore(int(in.Fd()), old)
	return t.endOf(s.err)
}

func (s *screen) run(ctx context.Context, in *os.File) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	second := time.NewTicker(time.Second)
	defer second.Stop()

	s.earlier(ctx)
	go s.receive(ctx, s.event, s.end)
	go s.readKeys(ctx, in)
	s.load(ctx, s.afterLoad)
	for !s.over {
		s.draw()
		select {
		case f := <-s.posts:
			f()
		case <-resized:
		case now := <-second.C:
			s.pauses(now, false)
			s.expire()
			s.watchAgain()
		case <-ctx.Done():
			return
		}
	}
}

func (s *screen) event(e client.Event) {
	s.take(e)
	s.shown()
}

func (s *screen) end(err error) { s.over, s.err = true, err }

func (s *screen) afterLoad(err error) {
	if err != nil {
		s.view.notice = "no history: " + err.Error()
	}
	s.shown()
}

// readKeys posts what is typed. It ends with the process when the conversation
// ends first, as nothing wakes a read of a terminal.
func (s *screen) readKeys(ctx context.Context, in *os.File) {
	for {
		buf := make([]byte, 256)
		n, err := in.Read(buf)
		if err != nil {
			s.post(ctx, func() { s.end(nil) })
			return
		}
		s.post(ctx, func() { s.keys(ctx, buf[:n]) })
	}
}

func (s *screen) keys(ctx context.Context, in []byte) {
	s.in = append(s.in, in...)
	for {
		k, n := nextKey(s.in)
		if n == 0 {
			return
		}
		s.in = s.in[n:]
		s.key(ctx, k)
	}
}

func (s *screen) key(ctx context.Context, k key) {
	v := &s.view
	switch k {
	case keyQuit:
		s.end(nil)
	case keyRedraw:
		s.out.WriteString("\x1b[2J")
	case keyUp:
		s.scroll(ctx, 1)
	case keyDown:
		s.scroll(ctx, -1)
	case keyPageUp:
		s.scroll(ctx, max(s.rows-5, 1))
	case keyPageDown:
		s.scroll(ctx, -max(s.rows-5, 1))
	case keyHome:
		s.scroll(ctx, 1<<30)
	case keyEnd:
		s.scroll(ctx, -1<<30)
	case keyEnter:
		v.notice = ""
		s.scroll(ctx, -1<<30)
		if text := v.line.take(); text != "" {
			s.send(ctx, text)
		}
		s.pauses(time.Now(), true)
	default:
		if v.line.press(k) && k <= unicode.MaxRune {
			s.types(time.Now())
		}
	}
}

// scroll moves the view. At the top of what is there it fetches what is older.
func (s *screen) scroll(ctx context.Context, lines int) {
	top := s.view.scrollBy(lines, s.columns, s.rows)
	if top && s.view.more && !s.view.loading {
		s.load(ctx, s.afterLoad)
	}
	s.shown()
}

func (s *screen) draw() {
	columns, rows, err := term.GetSize(int(s.out.Fd()))
	if err != nil || columns == 0 || rows == 0 {
		columns, rows = 80, 24
	}
	s.columns, s.rows = columns, rows
	s.out.WriteString(frameOf(s.view.render(columns, rows, time.Now())))
}
