package web

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
)

const (
	botIdle  = 2 * time.Minute // after which a session nobody asks ends
	botSweep = 15 * time.Second
)

// bots are the sessions of services that speak HTTP: each is a client of this
// process's own sockets, so that their messages go the one way there is, with
// its promises, limits and codes.
type bots struct {
	limit  int
	logger *slog.Logger
	site   Site
	life   context.Context // ends when requests that wait have to answer
	drain  context.CancelFunc
	done   sync.WaitGroup

	mu   sync.Mutex
	open map[botKey]*bot
}

// botKey is a device of a user.
type botKey struct {
	user   chat.User
	device chat.Device
}

// bot is one session.
type bot struct {
	client *client.Client
	token  string // the newest; guarded by bots.mu
	users  int    // requests under way; guarded by bots.mu
	used   time.Time

	mu      sync.Mutex
	sending map[chat.ID]*client.Sent // under way

	polling sync.Mutex // held by the one request that takes events
	pending []event    // given, and not said to be handled
}

func newBots(limit int, logger *slog.Logger, site Site) *bots {
	b := &bots{limit: limit, logger: logger, site: site, open: map[botKey]*bot{}}
	b.life, b.drain = context.WithCancel(context.Background())
	b.done.Go(b.sweep)
	return b
}

// enter finds or opens the session of a caller. leave has to follow.
func (b *bots) enter(id caller, device chat.Device) (s *bot, leave func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.life.Err() != nil {
		return nil, nil, chat.Errorf(chat.CodeDraining, "this server is going away")
	}
	key := botKey{id.User, device}
	s = b.open[key]
	if s != nil && s.client.Err() != nil { // such as replaced: the next request begins anew
		delete(b.open, key)
		ended := s.client
		b.done.Go(func() { ended.Close(b.life) })
		s = nil
	}
	if s == nil {
		if len(b.open) >= b.limit {
			return nil, nil, chat.Errorf(chat.CodeBusy, "%d sessions of the API are open", b.limit)
		}
		s = &bot{sending: map[chat.ID]*client.Sent{}}
		if s.client, err = client.Open(b.life, b.options(s, key)); err != nil {
			return nil, nil, err
		}
		b.open[key] = s
	}
	s.token, s.used = id.token, time.Now()
	s.users++
	return s, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		s.users--
		s.used = time.Now()
	}, nil
}

func (b *bots) options(s *bot, key botKey) client.Options {
	addr := b.site.Sockets.(*net.TCPAddr)
	if addr.IP.IsUnspecified() {
		addr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: addr.Port}
	}
	return client.Options{
		URL: "ws://" + addr.String(), User: key.user.Name(), Device: string(key.device), Manual: true,
		Dial: b.site.Dial, Logger: b.logger,
		Token: func(context.Context) (string, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			return s.token, nil
		},
	}
}

// sweep ends sessions that nobody asks.
func (b *bots) sweep() {
	every := time.NewTicker(botSweep)
	defer every.Stop()
	for {
		select {
		case <-b.life.Done():
			return
		case <-every.C:
			b.endIdle(time.Now().Add(-botIdle))
		}
	}
}

func (b *bots) endIdle(before time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, s := range b.open {
		if s.users == 0 && s.used.Before(before) {
			delete(b.open, key)
			b.done.Go(func() { s.client.Close(b.life) })
		}
	}
}

// close ends all sessions, once no request is under way.
func (b *bots) close(ctx context.Context) {
	b.drain()
	b.mu.Lock()
	for key, s := range b.open {
		delete(b.open, key)
		b.done.Go(func() { s.client.Close(ctx) })
	}
	b.mu.Unlock()
	b.done.Wait()
}
