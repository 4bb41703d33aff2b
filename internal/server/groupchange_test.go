package server

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
)

// throng is a group whose members come and go, each of whom keeps what they got.
type throng struct {
	t     *testing.T
	r     *rand.Rand
	dir   string
	s     *Server // signs tokens
	urls  func() []string
	group string

	mu      sync.Mutex
	news    sync.Cond // with mu: somebody got something, or it was long enough
	late    bool
	members map[string]*reader // by user
}

// reader is a user's device that is connected, or not, and what it got.
type reader struct {
	user   string
	c      *client.Client
	stop   context.CancelFunc // of receiving
	ended  chan struct{}
	got    []client.Message // guarded by throng.mu
	failed []chat.Code      // of what it sent
}

// connect begins a session of a device at some gateway, on from its state file.
func (th *throng) connect(user, device string) *client.Client {
	urls := th.urls()
	c, err := client.Open(th.t.Context(), client.Options{
		URL: urls[th.r.IntN(len(urls))], User: user, Device: device, State: filepath.Join(th.dir, user+"."+device),
		Token:      func(context.Context) (string, error) { return token(th.t, th.s, user, device, time.Hour), nil },
		BackoffMin: 20 * time.Millisecond, BackoffMax: 500 * time.Millisecond,
	})
	must(th.t, err)
	return c
}

// arrive connects a user and takes what comes.
func (th *throng) arrive(user string) {
	th.mu.Lock()
	r := th.members[user]
	if r == nil {
		r = &reader{user: user}
		th.members[user] = r
	}
	th.mu.Unlock()
	if r.c != nil {
		return
	}
	r.c, r.ended = th.connect(user, "phone"), make(chan struct{})
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func(c *client.Client, ended chan struct{}) {
		defer close(ended)
		for {
			e, err := c.Receive(ctx)
			if err != nil {
				return
			}
			th.mu.Lock()
			switch e := e.(type) {
			case client.Message:
				r.got = append(r.got, e)
				c.MarkRead(string(e.With()), e.Place)
			case client.Problem:
				r.failed = append(r.failed, chat.CodeOf(e.Err))
			}
			th.news.Broadcast()
			th.mu.Unlock()
		}
	}(r.c, r.ended)
}

// vanish ends a user's session.
func (th *throng) vanish(user string) {
	r := th.members[user]
	if r == nil || r.c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r.stop() // what is received while the client closes may come again
	<-r.ended
	must(th.t, r.c.Close(ctx))
	r.c = nil
}

// run makes a group of users, and for a number of steps has them written to,
// added, removed, going away and coming back. between is called now and then.
func (th *throng) run(users []string, steps int, between func(step int)) {
	t, ctx := th.t, th.t.Context()
	th.news.L = &th.mu
	founder := th.connect("founder", "phone")
	defer founder.Close(context.Background())
	group, sent, err := founder.CreateGroup(ctx, nil, users[:len(users)/2]...)
	must(t, err)
	must(t, sent.Durable(ctx))
	th.group = group
	for _, u := range users {
		th.arrive(u)
	}
	n := 0
	for step := range steps {
		user := users[th.r.IntN(len(users))]
		switch k := th.r.IntN(100); {
		case k < 50:
			n++
			_, err = founder.Send(ctx, group, fmt.Appendf(nil, "%d", n))
		case k < 70:
			th.arrive(user) // whoever they are: who is no member is refused
			n++
			_, err = th.members[user].c.Send(ctx, group, fmt.Appendf(nil, "%d", n))
		case k < 80:
			_, err = founder.ChangeGroup(ctx, group, chat.GroupAdd, user)
		case k < 88:
			_, err = founder.ChangeGroup(ctx, group, chat.GroupRemove, user)
		case k < 94:
			th.vanish(user)
		default:
			th.arrive(user)
		}
		must(t, err)
		between(step)
	}
	for _, u := range users {
		th.arrive(u)
		for _, sent := range th.members[u].c.Outbox() {
			if err := sent.Durable(ctx); chat.CodeOf(err) != chat.CodeNotMember {
				must(t, err)
			}
		}
	}
	last, err := founder.Send(ctx, group, []byte("the end"))
	must(t, err)
	must(t, last.Durable(ctx))
	th.judge(users, founder)
	for _, u := range users {
		th.vanish(u)
	}
}

// judge waits until all have what the group's history says that they are to
// have, and holds that they got it once, in order, and nothing else.
func (th *throng) judge(users []string, founder *client.Client) {
	t := th.t
	want := th.owed(founder, users)
	defer time.AfterFunc(patience, func() {
		th.mu.Lock()
		defer th.mu.Unlock()
		th.late = true
		th.news.Broadcast()
	}).Stop()
	th.mu.Lock()
	defer th.mu.Unlock()
	for _, u := range users {
		for len(th.members[u].got) < len(want[u]) && !th.late {
			th.news.Wait()
		}
		var places []chat.Position
		for _, m := range th.members[u].got {
			places = append(places, m.Place)
		}
		if !slices.Equal(places, want[u]) {
			t.Errorf("%s got %v, want %v", u, places, want[u])
		}
	}
}

// owed returns the places that each user is to get, by the changes in the
// history that the founder reads, who was never away from the group.
func (th *throng) owed(founder *client.Client, users []string) map[string][]chat.Position {
	t := th.t
	var all []chat.Message
	for whole := false; !whole; { // until it has the end
		all = nil
		for before := (chat.ID{}); ; {
			page, err := founder.History(t.Context(), th.group, before, 0)
			must(t, err)
			all = append(all, page.Messages...)
			if !page.More {
				break
			}
			before = all[len(all)-1].ID
		}
		whole = slices.ContainsFunc(all, func(m chat.Message) bool { return string(m.Content) == "the end" })
	}
	slices.SortFunc(all, func(a, b chat.Message) int { return int(int64(a.Place) - int64(b.Place)) })
	in := map[string]bool{}
	want := map[string][]chat.Position{}
	for _, m := range all {
		after := maps.Clone(in)
		if m.Suite == chat.SuiteGroup {
			c, err := chat.ParseChange(m.Content)
			must(t, err)
			for _, u := range c.Users {
				after[string(u)] = c.Verb != chat.GroupRemove
			}
		}
		for _, u := range users {
			if (in[u] || after[u]) && string(m.From) != u {
				want[u] = append(want[u], m.Place)
			}
		}
		in = after
	}
	return want
}

func someUsers(n int) (users []string) {
	for i := range n {
		users = append(users, fmt.Sprintf("user%02d", i))
	}
	return users
}

// TestAGroupThatChanges has members who join, leave, go away and come back while
// the group is written to, and their connections break.
func TestAGroupThatChanges(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	line := newLine(t, s.Addr().String())
	th := &throng{t: t, r: rand.New(rand.NewPCG(1, 1)), dir: t.TempDir(), s: s, members: map[string]*reader{}}
	th.urls = func() []string { return []string{"ws://" + line.Addr().String()} }
	th.run(someUsers(12), 400, func(step int) {
		if step%50 == 49 {
			line.cut()
		}
	})
}

// TestAGroupThatChangesInACluster is the same at several gateways, while
// processors take over from each other.
func TestAGroupThatChangesInACluster(t *testing.T) {
	cl := newCluster(t)
	p := cl.start("processor", nil)
	var urls []string
	var g *Server
	for range 3 {
		g = cl.start("gateway", nil)
		urls = append(urls, "ws://"+g.Addr().String())
	}
	th := &throng{t: t, r: rand.New(rand.NewPCG(2, 1)), dir: t.TempDir(), s: g, members: map[string]*reader{}}
	th.urls = func() []string { return urls }
	th.run(someUsers(12), 300, func(step int) {
		switch step {
		case 100:
			cl.start("processor", nil)
		case 200:
			stopServer(t, p)
		}
	})
}
