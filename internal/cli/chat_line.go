package cli

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
)

// lines is a conversation line by line: what is read is sent, what arrives is
// printed, and how far one's own messages have come.
type lines struct {
	*talk
	eof  bool
	over bool
	err  error
}

// byLine runs the conversation without a terminal. At the end of the input it
// waits for what was sent to be accepted.
func (t *talk) byLine(ctx context.Context) int {
	l := &lines{talk: t}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.earlier(ctx)
	go t.receive(ctx, l.event, l.end)
	go l.read(ctx)
	for !l.over && !(l.eof && l.pending == 0) {
		select {
		case f := <-t.posts:
			f()
		case <-ctx.Done():
			return ExitOK
		}
		l.printTicks()
		if t.view.notice != "" {
			t.env.Errorf("%s", t.view.notice)
			t.view.notice = ""
		}
	}
	for _, w := range t.waiting {
		t.env.Errorf("not sent, as %s has no keys yet: %s", t.peer, w.body.Text)
	}
	if code := t.endOf(l.err); code != ExitOK || len(t.waiting) == 0 {
		return code
	}
	return ExitFailed
}

func (l *lines) read(ctx context.Context) {
	in := bufio.NewScanner(l.env.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		text := strings.TrimSpace(in.Text())
		if text == "" {
			continue
		}
		sent := make(chan struct{})
		l.post(ctx, func() { l.send(ctx, text); close(sent) })
		select {
		case <-sent:
		case <-ctx.Done():
			return
		}
	}
	l.post(ctx, func() { l.eof = true })
}

func (l *lines) end(err error) { l.over, l.err = true, err }

func (l *lines) event(e client.Event) {
	l.take(e)
	l.shown()
	switch e := e.(type) {
	case client.Message:
		if string(e.With()) == l.peer {
			l.print("message", &e.Message)
		}
	case client.Copy:
		if string(e.To) == l.peer {
			l.print("copy", &e.Message)
		}
	case told:
		if e.with() == l.peer {
			l.printTold(e)
		}
	case client.Disconnected:
		fmt.Fprintf(l.env.Stderr, "disconnected: %v\n", e.Err)
	}
}

func (l *lines) print(kind string, m *chat.Message) {
	if l.json {
		l.env.printJSON(recordOf(kind, m))
		return
	}
	fmt.Fprintf(l.env.Stdout, "%s  %s: %s\n", clock(m), m.From, l.c.textOf(m))
}

func (l *lines) printTold(e told) {
	if l.json {
		l.env.printJSON(recordOfTold(e))
		return
	}
	fmt.Fprintf(l.env.Stdout, "%s  %s: %s\n", clock(&e.m), e.m.From, e.text())
}

// printTicks prints the messages of one's own that have come further.
func (l *lines) printTicks() {
	for i := range l.view.bubbles {
		b := &l.view.bubbles[i]
		tick, _ := l.view.ticks(b)
		if !b.mine || b.place == 0 && b.failed == "" || tick == b.printed {
			continue
		}
		b.printed = tick
		if l.json {
			l.env.printJSON(map[string]any{"type": "status", "id": b.id.String(), "status": statusOf(b, &l.view)})
			continue
		}
		fmt.Fprintf(l.env.Stdout, "%s %s\n", tick, b.text)
	}
}

func statusOf(b *bubble, v *chatView) string {
	if b.failed != "" {
		return "failed"
	}
	return statusText(chat.StatusOf(b.place, v.receipt))
}
