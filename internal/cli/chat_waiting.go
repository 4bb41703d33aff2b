package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/content"
	"github.com/rookery-chat/rookery/client/e2ee"
)

// A message to somebody who has no keys yet waits in the conversation until they
// have, and ends with it: it cannot be encrypted, so nothing keeps it.
const (
	waitingMost  = 100             // messages
	waitingEvery = 2 * time.Second // between two looks for keys
)

// waitingMessage is a message that waits for its receiver's keys.
type waitingMessage struct {
	id   chat.ID
	body content.Body
	blob findBlob // that it deletes
}

// say sends a body and shows it.
func (t *talk) say(ctx context.Context, b content.Body) error {
	if len(t.waiting) > 0 { // in order
		return t.wait(ctx, b)
	}
	s, err := t.put(ctx, b, chat.ID{})
	if errors.Is(err, e2ee.ErrNoKeys) {
		t.view.notice = t.peer + " has not been here yet, so there are no keys to encrypt with: what you write waits, as long as this runs"
		return t.wait(ctx, b)
	}
	if err != nil {
		return err
	}
	if b.Kind == content.KindText {
		b.Seconds = content.LifeSeconds(t.life())
	}
	blob := t.blobOf(b)
	t.show(chat.Message{ID: s.ID(), From: chat.User(t.me), To: chat.User(t.peer)}, b)
	t.follow(ctx, s, blob)
	return nil
}

func (t *talk) put(ctx context.Context, b content.Body, id chat.ID) (*client.Sent, error) {
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	return t.c.Say(ctx, t.peer, b, client.SendOptions{TTL: t.life(), ID: id})
}

// life is for how long what is written now lives, 0 for ever: as the messages here
// say, or what a device that was linked was told, and no longer than the server takes.
func (t *talk) life() time.Duration {
	life := t.said.Timer()
	if life == 0 && t.c.sealed != nil {
		return t.c.sealed.Timer(t.peer)
	}
	if most := t.c.MaxTTL(); most > 0 {
		return min(life, most)
	}
	return life
}

// wait shows a body that is sent when its receiver has keys.
func (t *talk) wait(ctx context.Context, b content.Body) error {
	if len(t.waiting) == waitingMost {
		return fmt.Errorf("%d messages wait for %s", waitingMost, t.peer)
	}
	id, err := t.c.NewID(ctx)
	if err != nil {
		return err
	}
	t.waiting = append(t.waiting, waitingMessage{id, b, t.blobOf(b)})
	t.show(chat.Message{ID: id, From: chat.User(t.me), To: chat.User(t.peer)}, b)
	if len(t.waiting) == 1 {
		t.lookAgain(ctx)
	}
	return nil
}

func (t *talk) lookAgain(ctx context.Context) {
	time.AfterFunc(waitingEvery, func() { t.post(ctx, func() { t.sendWaiting(ctx) }) })
}

// sendWaiting sends what waits, if there are keys now.
func (t *talk) sendWaiting(ctx context.Context) {
	for len(t.waiting) > 0 {
		w := t.waiting[0]
		s, err := t.put(ctx, w.body, w.id)
		if errors.Is(err, e2ee.ErrNoKeys) || errors.Is(err, context.DeadlineExceeded) {
			t.lookAgain(ctx)
			return
		}
		t.waiting, t.view.notice = t.waiting[1:], ""
		if err != nil {
			t.view.update(bubble{id: w.id, failed: err.Error()})
			continue
		}
		t.follow(ctx, s, w.blob)
	}
}
