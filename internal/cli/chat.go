package cli

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/term"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/content"
	"github.com/rookery-chat/rookery/client/e2ee"
)

const (
	chatPage     = 50              // messages of history fetched at once
	typingRepeat = 5 * time.Second // how often typing is said while it goes on
	typingPause  = 5 * time.Second // without a key for so long, it has stopped
)

// chatFlags are chat's own.
type chatFlags struct {
	*clientFlags
	fileFlags
	with string
}

// cmdChat is a conversation: on a terminal over the whole screen, otherwise line
// by line.
func cmdChat(ctx context.Context, env *Env, args []string) int {
	common, fs := newClientFlags("chat")
	f := chatFlags{clientFlags: common}
	fs.StringVar(&f.with, "with", "", "the other user, or a group")
	f.addWeb(fs)
	const usage = "rookery chat --as USER --with USER [flags]   (Enter sends; PgUp and PgDn scroll; Ctrl-C ends)"
	if code, ok := parseFlags(env, fs, usage, args); !ok {
		return code
	}
	switch {
	case fs.NArg() > 0:
		env.Errorf("chat takes no arguments, got %q", fs.Args())
		return ExitUsage
	case f.with == "":
		env.Errorf("say with whom: --with USER")
		return ExitUsage
	}
	return f.session(ctx, env, receives, nil, func(ctx context.Context, c *session) int {
		media, err := f.clientFlags.media(f.web)
		if err != nil {
			env.errorLines(err)
			return ExitUsage
		}
		t := &talk{c: c, media: media, env: env, json: f.json, me: f.as, peer: f.with, posts: make(chan func(), 256), said: content.NewTimeline()}
		t.view = chatView{me: f.as, peer: f.with, connected: true, more: true}
		if in, out, ok := terminal(env); ok && !f.json {
			return t.onScreen(ctx, in, out)
		}
		return t.byLine(ctx)
	})
}

func terminal(env *Env) (in, out *os.File, ok bool) {
	in, ok1 := env.Stdin.(*os.File)
	out, ok2 := env.Stdout.(*os.File)
	ok = ok1 && ok2 && term.IsTerminal(int(in.Fd())) && term.IsTerminal(int(out.Fd()))
	return in, out, ok
}

// talk is a running conversation. All of it happens on one goroutine, to which
// others post.
type talk struct {
	c        *session
	media    *client.Media
	env      *Env
	json     bool
	me, peer string
	posts    chan func()

	view     chatView
	said     *content.Timeline
	waiting  []waitingMessage
	next     chat.ID         // where the next page of history begins
	pending  int             // messages of this run that are not accepted
	typed    time.Time       // the last key
	told     time.Time       // when typing was last said; zero: it is not going on
	watching bool            // the peer's presence is known or asked for
	caughtUp bool            // once in this run
	behind   []func() string // what waits for that
}

// post has f run on the conversation's goroutine, unless that has ended.
func (t *talk) post(ctx context.Context, f func()) {
	select {
	case t.posts <- f:
	case <-ctx.Done():
	}
}

// receive gives every event to take, on the conversation's goroutine, and asks
// for the next when that is done: so what is shown counts as handled.
func (t *talk) receive(ctx context.Context, take func(client.Event), ended func(error)) {
	for {
		e, err := t.c.Receive(ctx)
		if err != nil {
			if ctx.Err() == nil {
				t.post(ctx, func() { ended(err) })
			}
			return
		}
		done := make(chan struct{})
		t.post(ctx, func() { take(e); close(done) })
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
}

// send sends a line, or does what it says.
func (t *talk) send(ctx context.Context, text string) {
	var err error
	if c, ok := chatCommandOf(text); ok {
		err = t.do(ctx, c)
	} else {
		err = t.say(ctx, content.Body{Kind: content.KindText, Text: text})
	}
	if err != nil {
		t.view.notice = "not sent: " + err.Error()
	}
}

// earlier shows what an earlier run wrote and had not sent.
func (t *talk) earlier(ctx context.Context) {
	for _, s := range t.c.Earlier() {
		if string(s.To()) == t.peer {
			t.view.put(bubble{id: s.ID(), mine: true, text: "(written in an earlier run)"})
		}
		t.follow(ctx, s, nil)
	}
}

// follow follows a message until it is accepted, and then drops the blob that
// it deletes, if it does. One that is on no line, as it changes another, is told
// of when it fails.
func (t *talk) follow(ctx context.Context, s *client.Sent, blob findBlob) {
	t.pending++
	go func() {
		var name string
		var stays error // of the blob
		if blob != nil {
			name, stays = blob(ctx)
		}
		err := s.Durable(ctx)
		if err == nil && name != "" {
			stays = t.media.DropAfter(ctx, s, name)
		}
		t.post(ctx, func() {
			t.pending--
			b := bubble{id: s.ID(), place: s.Place()}
			if err != nil {
				b.failed = err.Error()
			}
			if !t.view.update(b) && err != nil {
				t.view.notice = "not sent: " + err.Error()
			}
			if err == nil && stays != nil {
				t.view.notice = "the message is deleted, its encrypted file stays at the server until its end: " + stays.Error()
			}
			t.watch()
		})
	}()
}

// load fetches the messages before the oldest that is there.
func (t *talk) load(ctx context.Context, then func(error)) {
	before := t.next
	t.view.loading = true
	go func() {
		page, err := askFor(ctx, func(ctx context.Context) (*e2ee.SaidPage, error) {
			return t.c.Said(ctx, t.peer, before, chatPage)
		})
		t.post(ctx, func() {
			t.view.loading = false
			if err == nil {
				t.loaded(page)
			}
			then(err)
		})
	}()
}

func (t *talk) loaded(page *e2ee.SaidPage) {
	for i, m := range page.Messages {
		t.show(m, page.Bodies[i])
	}
	t.view.advance(page.Delivered, page.Read)
	t.view.more, t.next = page.More, page.Next
	if len(t.view.bubbles) > 0 {
		t.watch()
	}
}

// watch asks for the peer's presence, which is for those who have a chat with
// them: so not before the first message is stored, which is a moment after it
// was accepted.
func (t *talk) watch() {
	if !t.watching {
		t.watching = true
		t.c.Watch(t.peer)
	}
}

// watchAgain is for when watch came before that moment.
func (t *talk) watchAgain() {
	if slices.ContainsFunc(t.view.bubbles, func(b bubble) bool { return b.place > 0 }) {
		t.watch()
	}
}

// take brings the view up to date with an event.
func (t *talk) take(e client.Event) {
	v := &t.view
	switch e := e.(type) {
	case client.Message:
		if string(e.With()) != t.peer {
			v.notice = "a message from " + string(e.With())
			return
		}
		t.show(e.Message, t.c.plainBody(&e.Message))
		v.typing = time.Time{}
		t.watch()
	case client.Copy:
		if string(e.To) == t.peer {
			t.show(e.Message, t.c.plainBody(&e.Message))
			t.watch()
		}
	case told:
		if e.with() != t.peer {
			v.notice = "something from " + e.with()
			return
		}
		t.show(e.m, e.body)
		t.watch()
	case client.Receipt:
		if string(e.Peer) == t.peer {
			v.advance(e.Delivered, e.Read)
			t.watch()
		}
	case client.Typing:
		if string(e.Peer) == t.peer {
			v.typing = time.Time{}
			if e.On {
				v.typing = time.Now()
			}
		}
	case client.Presence:
		if string(e.Peer) == t.peer {
			v.known, v.online, v.seen = true, e.Online, e.Seen
		}
	case client.Connected:
		v.connected, v.trouble = true, ""
	case client.CaughtUp:
		t.catchesUp()
	case client.Disconnected:
		v.connected, v.known, v.trouble = false, false, e.Err.Error()
	case client.Problem:
		t.problem(e)
	}
}

func (t *talk) problem(p client.Problem) {
	if chat.CodeOf(p.Err) == chat.CodeForbidden && p.ID.Zero() {
		t.watching = false // no chat yet
		return
	}
	t.view.notice = p.Err.Error()
}

// shown says that the peer's messages on the screen have been read.
func (t *talk) shown() {
	if place := t.view.newestOfPeer(); place > 0 && t.view.scroll == 0 {
		t.c.MarkRead(t.peer, place)
	}
}

// types says that the user types, now and then.
func (t *talk) types(now time.Time) {
	t.typed = now
	if now.Sub(t.told) >= typingRepeat {
		t.told = now
		t.c.Typing(t.peer, true)
	}
}

// pauses says that the user stopped typing, when it is so.
func (t *talk) pauses(now time.Time, sent bool) {
	if !t.told.IsZero() && (sent || now.Sub(t.typed) >= typingPause) {
		t.told = time.Time{}
		t.c.Typing(t.peer, false)
	}
}

// endOf returns the exit code of a conversation that an error ended.
func (t *talk) endOf(err error) int {
	if err == nil || errors.Is(err, context.Canceled) {
		return ExitOK
	}
	t.env.Errorf("%v", err)
	return exitOf(err)
}
