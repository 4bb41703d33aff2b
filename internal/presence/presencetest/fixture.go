package presencetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
)

type fixture struct {
	*testing.T
	back Backend
	ctx  context.Context
}

var phone, laptop = chat.Node{1}, chat.Node{2}

// patience is how long something may take that takes moments.
const patience = 20 * time.Second

// Eventually waits until a condition holds.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never came: %s", what)
		}
	}
}

func (f *fixture) join(id string, h presence.Handler) presence.Directory {
	f.Helper()
	d := f.back.Join(f, id, h)
	f.Cleanup(d.Close)
	return d
}

func (f *fixture) register(d presence.Directory, user chat.User, node chat.Node, n uint64) presence.Registration {
	f.Helper()
	r, err := d.Register(f.ctx, presence.Session{User: user, Node: node, Number: n})
	if err != nil {
		f.Fatalf("register %s %d: %v", user, n, err)
	}
	return r
}

func (f *fixture) unregister(d presence.Directory, user chat.User, node chat.Node, n uint64) bool {
	f.Helper()
	last, err := d.Unregister(f.ctx, presence.Session{User: user, Node: node, Number: n}, 77)
	if err != nil {
		f.Fatalf("unregister %s %d: %v", user, n, err)
	}
	return last
}

// at returns the names of the gateways that have a user.
func (f *fixture) at(d presence.Directory, user chat.User) []string {
	f.Helper()
	found, err := d.Where(f.ctx, []chat.User{user})
	if err != nil || len(found) != 1 {
		f.Fatalf("where is %s: %v, %v", user, found, err)
	}
	return names(found[0])
}

func names(list []presence.Gateway) (out []string) {
	for _, g := range list {
		out = append(out, g.ID)
	}
	slices.Sort(out)
	return out
}

func (f *fixture) eventuallyAt(d presence.Directory, user chat.User, want ...string) {
	f.Helper()
	Eventually(f, fmt.Sprintf("%s at %v", user, want), func() bool { return slices.Equal(f.at(d, user), want) })
}

// recorder is the handler of a gateway with sessions.
type recorder struct {
	mu       sync.Mutex
	sessions []presence.Session
	settled  []presence.Session
	failed   []error
	told     []string
}

func (r *recorder) handler() presence.Handler {
	return presence.Handler{
		Sessions: func(yield func(presence.Session) bool) {
			r.mu.Lock()
			list := slices.Clone(r.sessions)
			r.mu.Unlock()
			for _, s := range list {
				if !yield(s) {
					return
				}
			}
		},
		Settled: func(s presence.Session, _ presence.Registration, err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.settled = append(r.settled, s)
			if err != nil {
				r.failed = append(r.failed, err)
			}
		},
		Changed: func(user chat.User, online bool, seen int64) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.told = append(r.told, fmt.Sprint(user, " ", online, " ", seen))
		},
	}
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.settled)
}

// since counts the sessions that were settled after the first n calls.
func (r *recorder) since(n int) (sessions, failed int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[presence.Session]bool{}
	for _, s := range r.settled[n:] {
		seen[s] = true
	}
	return len(seen), len(r.failed)
}

func (r *recorder) heard() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.told)
}
