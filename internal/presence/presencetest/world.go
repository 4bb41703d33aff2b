package presencetest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
)

// World is a directory in memory that the "processes" of one test share. It is
// the contract's model, and stands in for Redis where a test needs any
// directory.
type World struct {
	mu      sync.Mutex
	epoch   uint64
	live    map[string]*member // gateways that hold a lease
	entries map[chat.User]map[chat.Node]presence.Location
	denied  map[denial]bool
	members map[*member]bool
}

type denial struct {
	user chat.User
	at   presence.Location
}

// NewWorld returns an empty one.
func NewWorld() *World {
	return &World{
		live: map[string]*member{}, entries: map[chat.User]map[chat.Node]presence.Location{},
		denied: map[denial]bool{}, members: map[*member]bool{},
	}
}

// member is one process's Directory.
type member struct {
	w       *World
	self    presence.Gateway
	h       presence.Handler
	watched map[chat.User]int
	online  map[chat.User]bool
	tell    chan func()
	running sync.WaitGroup
	closed  bool
}

var _ presence.Directory = (*member)(nil)

// Join returns the directory of a process; one without an id is no gateway.
func (w *World) Join(_ testing.TB, id string, h presence.Handler) presence.Directory {
	m := &member{w: w, h: h, watched: map[chat.User]int{}, online: map[chat.User]bool{}, tell: make(chan func(), 4096)}
	m.self = presence.Gateway{ID: id, Address: address(id)}
	m.running.Go(func() {
		for f := range m.tell {
			f()
		}
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.members[m] = true
	if id != "" {
		w.begin(m)
	}
	return m
}

// Lose makes a living gateway lose its lease.
func (w *World) Lose(_ testing.TB, d presence.Directory) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin(d.(*member))
}

// Vanish ends a process that does not give its lease back, and lets that end.
func (w *World) Vanish(_ testing.TB, d presence.Directory) { d.Close() }

// begin starts an epoch of a gateway and registers its sessions again.
func (w *World) begin(m *member) {
	w.epoch++
	m.self.Epoch = w.epoch
	w.live[m.self.ID] = m
	w.look()
	if m.h.Sessions == nil {
		return
	}
	m.tell <- func() {
		m.h.Sessions(func(s presence.Session) bool {
			r, err := m.Register(context.Background(), s)
			if m.h.Settled != nil {
				m.h.Settled(s, r, err)
			}
			return true
		})
	}
}

func (w *World) counts(l presence.Location) bool {
	m := w.live[l.Gateway.ID]
	return m != nil && m.self == l.Gateway
}

func (w *World) isOnline(user chat.User) bool {
	for _, l := range w.entries[user] {
		if w.counts(l) {
			return true
		}
	}
	return false
}

// look tells every watcher what changed by a gateway's end.
func (w *World) look() {
	for m := range w.members {
		for user := range m.watched {
			m.told(user, w.isOnline(user), 0)
		}
	}
}

func (w *World) changed(user chat.User, seen int64) {
	for m := range w.members {
		if m.watched[user] > 0 {
			m.told(user, w.isOnline(user), seen)
		}
	}
}

func (m *member) told(user chat.User, online bool, seen int64) {
	if was, known := m.online[user]; m.closed || known && was == online {
		return
	}
	m.online[user] = online
	if f := m.h.Changed; f != nil {
		m.tell <- func() { f(user, online, seen) }
	}
}

func (m *member) Register(_ context.Context, s presence.Session) (r presence.Registration, err error) {
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.live[m.self.ID] != m {
		return r, presence.ErrUnavailable
	}
	devices := w.entries[s.User]
	if devices == nil {
		devices = map[chat.Node]presence.Location{}
		w.entries[s.User] = devices
	}
	old, ok := devices[s.Node]
	if ok && w.counts(old) {
		if old.Session > s.Number || old.Session == s.Number && old.Gateway.ID != m.self.ID {
			return r, presence.ErrSuperseded
		}
		if old.Session < s.Number {
			r.Replaced = old
		}
	}
	devices[s.Node] = presence.Location{Gateway: m.self, Node: s.Node, Session: s.Number}
	for node, l := range devices {
		r.Others = r.Others || node != s.Node && w.counts(l)
	}
	w.changed(s.User, 0)
	return r, nil
}

func (m *member) Unregister(_ context.Context, s presence.Session, seen int64) (bool, error) {
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	l, ok := w.entries[s.User][s.Node]
	if !ok || l.Session > s.Number || l.Gateway.ID != m.self.ID {
		return false, nil
	}
	delete(w.entries[s.User], s.Node)
	w.changed(s.User, seen)
	return !w.isOnline(s.User), nil
}

func (m *member) UnregisterLater(s presence.Session, seen int64) {
	_, _ = m.Unregister(context.Background(), s, seen)
}

func (m *member) Where(_ context.Context, users []chat.User) ([][]presence.Gateway, error) {
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([][]presence.Gateway, len(users))
	for i, user := range users {
		for _, l := range w.entries[user] {
			if w.counts(l) && !slices.Contains(out[i], l.Gateway) {
				out[i] = append(out[i], l.Gateway)
			}
		}
	}
	return out, nil
}

func (m *member) Forget(user chat.User, at presence.Gateway) {
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	for node, l := range w.entries[user] {
		if l.Gateway != at {
			continue
		}
		if key := (denial{user, l}); !w.denied[key] {
			w.denied[key] = true
			continue
		}
		delete(w.entries[user], node)
		w.changed(user, 0)
	}
}

func (m *member) Gateways(context.Context) (out []presence.Gateway, err error) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	for _, g := range m.w.live {
		out = append(out, g.self)
	}
	slices.SortFunc(out, func(a, b presence.Gateway) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

func (m *member) Watch(user chat.User) (online, known bool) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.watched[user]++
	online, known = m.online[user]
	if !known {
		m.told(user, m.w.isOnline(user), 0)
	}
	return online, known
}

func (m *member) Unwatch(user chat.User) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if m.watched[user] <= 1 {
		delete(m.watched, user)
		delete(m.online, user)
		return
	}
	m.watched[user]--
}

func (m *member) Self() (presence.Gateway, bool) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	return m.self, m.w.live[m.self.ID] == m
}

func (m *member) Health() error { return nil }

func (m *member) Close() {
	w := m.w
	w.mu.Lock()
	if m.closed {
		w.mu.Unlock()
		return
	}
	m.closed = true
	delete(w.members, m)
	if w.live[m.self.ID] == m {
		delete(w.live, m.self.ID)
		w.look()
	}
	close(m.tell)
	w.mu.Unlock()
	m.running.Wait()
}
