package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/content"
)

// told is a message that says more than a text, or was sent by another device of
// the user.
type told struct {
	client.OtherEvent
	m      chat.Message
	body   content.Body
	isCopy bool
}

// with is whom the chat is with.
func (t told) with() string {
	if t.isCopy {
		return string(t.m.To)
	}
	return string(client.Message{Message: t.m}.With())
}

// text is what it says, for who sees this message alone.
func (t told) text() string { return bodyText(t.body) }

func bodyText(b content.Body) string {
	text := printable(b.Text)
	switch b.Kind {
	case content.KindText:
		if !b.Target.Zero() {
			return fmt.Sprintf("(to %s) %s", b.Target, text)
		}
		return text
	case content.KindEdit:
		return fmt.Sprintf("[edits %s: %s]", b.Target, text)
	case content.KindDelete:
		return fmt.Sprintf("[deletes %s]", b.Target)
	case content.KindReaction:
		if text == "" {
			return fmt.Sprintf("[takes its reaction to %s back]", b.Target)
		}
		return fmt.Sprintf("[reacts to %s: %s]", b.Target, text)
	case content.KindTimer:
		if b.Seconds == 0 {
			return "[messages stay from here on]"
		}
		return fmt.Sprintf("[messages disappear after %v from here on]", b.Life())
	case content.KindFile:
		return "[file]"
	}
	return "[for a later version]"
}

// plainBody is a message as text, whatever it is.
func (s *session) plainBody(m *chat.Message) content.Body {
	return content.Body{Kind: content.KindText, Text: s.textOf(m)}
}

// Say sends what a body says. Without encryption that is a text.
func (s *session) Say(ctx context.Context, to string, b content.Body, o client.SendOptions) (*client.Sent, error) {
	switch {
	case s.sealed != nil:
		return s.sealed.SendBody(ctx, to, b, o)
	case b.Kind != content.KindText || !b.Target.Zero():
		return nil, errors.New("replies, edits, deletions, reactions and timers go encrypted only, without --plain")
	}
	return s.Send(ctx, to, []byte(b.Text), o)
}

// chatCommand is a line that begins with a slash and one of chatCommands.
type chatCommand struct {
	name   string
	target chat.ID // zero: the newest that it can be of
	text   string
}

var chatCommands = map[string]string{
	"/reply": "TEXT", "/edit": "TEXT", "/delete": "", "/react": "EMOJI", "/disappear": "DURATION or off", "/block": "", "/unblock": "",
	"/safety": "", "/accept": "", "/picture": "set FILE, save FILE or nothing",
}

// chatCommandOf reads a line: a command, a message's id where it is not for the
// newest one, and the rest. false: it is a text.
func chatCommandOf(line string) (c chatCommand, ok bool) {
	name, rest, _ := strings.Cut(line, " ")
	if _, ok := chatCommands[name]; !ok {
		return c, false
	}
	c.name, c.text = name, strings.TrimSpace(rest)
	word, rest, _ := strings.Cut(c.text, " ")
	if id, err := chat.ParseID(word); err == nil {
		c.target, c.text = id, strings.TrimSpace(rest)
	}
	return c, true
}

// do carries a command out.
func (t *talk) do(ctx context.Context, c chatCommand) error {
	switch c.name {
	case "/block", "/unblock":
		return t.block(ctx, c.name == "/block")
	case "/safety", "/accept":
		return t.safety(ctx, c.name == "/accept")
	case "/picture":
		return t.picture(ctx, c.text)
	case "/disappear":
		life, err := time.ParseDuration(c.text)
		if c.text != "off" && (err != nil || life < time.Second) {
			return fmt.Errorf("%s is a duration such as 1h, or off", c.text)
		}
		return t.say(ctx, content.Body{Kind: content.KindTimer, Seconds: content.LifeSeconds(life)})
	}
	b := content.Body{Kind: map[string]content.Kind{
		"/reply": content.KindText, "/edit": content.KindEdit, "/delete": content.KindDelete, "/react": content.KindReaction,
	}[c.name], Text: c.text, Target: c.target}
	if b.Text == "" && (c.name == "/reply" || c.name == "/edit") {
		return fmt.Errorf("%s %s", c.name, chatCommands[c.name])
	}
	if b.Target.Zero() {
		b.Target = t.newest(c.name == "/edit" || c.name == "/delete")
	}
	if b.Target.Zero() {
		return fmt.Errorf("%s: there is no message that it could be for", c.name)
	}
	return t.say(ctx, b)
}

// newest is the newest message of the user, or of the others, that is here.
func (t *talk) newest(mine bool) chat.ID {
	items := t.said.Items()
	for i := len(items) - 1; i >= 0; i-- {
		it := items[i]
		if (string(it.From) == t.me) == mine && !it.Deleted && it.Body.Kind == content.KindText {
			return it.ID
		}
	}
	return chat.ID{}
}

// safety shows the safety number, and accepts an identity that has changed.
func (t *talk) safety(ctx context.Context, accept bool) error {
	if t.c.sealed == nil || chat.User(t.peer).IsGroup() {
		return errors.New("safety numbers are of a user, and without --plain")
	}
	if accept {
		if err := t.c.accept(ctx, t.peer); err != nil {
			return err
		}
	}
	s, err := t.c.sealed.Safety(ctx, t.peer)
	if err == nil {
		t.view.notice = "safety number with " + t.peer + ": " + s.Digits
	}
	return err
}

func (t *talk) block(ctx context.Context, on bool) error {
	change, word := t.c.Block, "blocked"
	if !on {
		change, word = t.c.Unblock, "not blocked any more"
	}
	if _, err := change(ctx, t.peer); err != nil {
		return err
	}
	t.view.notice = t.peer + " is " + word
	return nil
}

// show brings the view up to date with a message, and what it changes.
func (t *talk) show(m chat.Message, b content.Body) {
	id, changed := t.said.Put(m, b)
	if !changed {
		if t.said.Item(m.ID) != nil && m.Place > 0 {
			t.view.put(bubble{id: m.ID, place: m.Place})
		}
		return
	}
	it := t.said.Item(id)
	t.view.set(bubble{id: id, mine: string(it.From) == t.me, text: t.textOf(it), place: it.Place})
	t.said.Forget(t.view.oldest())
}

// textOf is a message with all that changed it, on a line.
func (t *talk) textOf(it *content.Item) string {
	text := printable(it.Body.Text)
	if it.Body.Kind != content.KindText {
		text = bodyText(it.Body)
	}
	if to := t.said.Item(it.Body.Target); to != nil {
		text = "> " + fit(printable(to.Body.Text), quoteColumns) + " | " + text
	}
	if it.Deleted {
		text = "[deleted]"
	}
	if it.To.IsGroup() && string(it.From) != t.me {
		text = string(it.From) + ": " + text
	}
	if !it.Edited.Zero() {
		text += " (edited)"
	}
	var reactions []string
	for _, r := range it.Reactions {
		if r.Text != "" {
			reactions = append(reactions, printable(r.Text)+" "+string(r.User))
		}
	}
	if len(reactions) > 0 {
		text += " [" + strings.Join(reactions, ", ") + "]"
	}
	return text
}

// quoteColumns is how much of a message a reply to it shows.
const quoteColumns = 24

// expire removes what has disappeared.
func (t *talk) expire() {
	gone, _ := t.said.Expire(t.c.Now())
	for _, id := range gone {
		t.view.remove(id)
	}
}
