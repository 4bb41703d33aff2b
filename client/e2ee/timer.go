package e2ee

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client/content"
)

// timer is for how long what is sent to a chat lives, as the newest message of
// content.KindTimer says that this device has sent or read, or that the device which
// linked it had: that message disappears, and what it says holds on.
type timer struct {
	ID      chat.ID // of the message
	Seconds uint32
	Before  *timer `json:",omitempty"` // what holds when the server does not take this device's own
}

func timerKey(with string) string { return "timer/" + with }

// Timer returns for how long messages live that are sent to a user or group now, as
// the newest timer of that chat says which this device knows; 0 is for ever. The
// server may take less: who sends holds it to that, as Client.Timer does.
func (c *Machine) Timer(with string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, err := readRow[timer](c.vault, timerKey(with))
	if err != nil || t == nil {
		return 0
	}
	return time.Duration(t.Seconds) * time.Second
}

// noteTimer keeps what a message of a chat says of its timer; own: this device sends
// it, and the server has not taken it yet. c.mu is held.
func (c *Machine) noteTimer(with string, id chat.ID, kind uint8, body []byte, own bool) error {
	if kind != TypeContent {
		return nil
	}
	b, err := content.Parse(body)
	if err != nil || b.Kind != content.KindTimer {
		return nil // the app is shown what it is
	}
	t := timer{ID: id, Seconds: b.Seconds}
	if own {
		if t.Before, err = readRow[timer](c.vault, timerKey(with)); t.Before != nil {
			t.Before.Before = nil
		}
	}
	if err != nil {
		return err
	}
	return c.keepTimer(with, &t)
}

// keepTimer keeps a timer, unless a newer one is known. c.mu is held.
func (c *Machine) keepTimer(with string, t *timer) error {
	old, err := readRow[timer](c.vault, timerKey(with))
	if err == nil && (old == nil || t.ID.Compare(old.ID) > 0) {
		writeRow(c.vault, timerKey(with), t)
	}
	return err
}

// refusedTimer forgets a timer that the server did not take. c.mu is held.
func (c *Machine) refusedTimer(id chat.ID) {
	for _, key := range c.vault.keys(timerKey("")) {
		t, err := readRow[timer](c.vault, key)
		switch {
		case err != nil || t.ID != id:
		case t.Before != nil:
			writeRow(c.vault, key, t.Before)
		default:
			c.vault.drop(key)
		}
	}
}

// timerEntry is the timer of a chat in what is handed over.
type timerEntry struct {
	with string
	timer
}

func (e *timerEntry) append(dst []byte) []byte {
	return binary.BigEndian.AppendUint32(append(appendString(dst, e.with), e.ID[:]...), e.Seconds)
}

// timers are those of all chats but some, the newest first.
func (c *Machine) timers(out map[string]bool) ([]timerEntry, error) {
	var all []timerEntry
	for _, key := range c.vault.keys(timerKey("")) {
		e := timerEntry{with: strings.TrimPrefix(key, timerKey(""))}
		if out[e.with] {
			continue
		}
		if err := json.Unmarshal(c.vault.get(key), &e.timer); err != nil {
			return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
		}
		all = append(all, e)
	}
	slices.SortStableFunc(all, func(a, b timerEntry) int { return b.ID.Compare(a.ID) })
	return all[:min(len(all), archiveTimers)], nil
}
