// Package server joins the parts of `rookery serve` and holds their lifetimes:
// what is started in which order, and what is stopped in which.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/engine"
	"github.com/rookery-chat/rookery/internal/admin"
	"github.com/rookery-chat/rookery/internal/auth"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/delivery"
	"github.com/rookery-chat/rookery/internal/gateway"
	"github.com/rookery-chat/rookery/internal/keydir"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/internal/proxyaddr"
	"github.com/rookery-chat/rookery/internal/push"
	"github.com/rookery-chat/rookery/internal/web"
	"github.com/rookery-chat/rookery/pipeline/kafka"
	"github.com/rookery-chat/rookery/shard"
	"github.com/rookery-chat/rookery/storage"
)

const (
	maxBlockBytes = 4 << 20               // of the log, written with one sync
	sweepEvery    = time.Minute           // how often expired rows are looked for
	maxSweepStep  = 24 * time.Hour        // how far the age at which messages are deleted moves at once
	sweepPause    = 20 * time.Millisecond // between the steps of one sweep
	applyPoll     = 5 * time.Millisecond  // how often a start looks whether all is applied
	drainPoll     = 10 * time.Millisecond // how often a drain looks whether all have gone
	byeEach       = time.Millisecond      // a drain takes as long a session, up to half its grace
	stopTimeout   = 30 * time.Second      // for the owners to finish after the sockets have gone
)

// Options are what is not configuration.
type Options struct {
	Version string
	Logger  *slog.Logger
	Level   *slog.LevelVar
}

// Server is a running server: a gateway, a processor, or both.
type Server struct {
	cfg    *config.Config
	logger *slog.Logger
	dev    *auth.Key // nil when its tokens are not taken

	admin   *admin.Server
	log     messageLog   // as it was opened; see epochs
	logs    []*kafka.Log // its epochs, where it is in Kafka
	epochs  epochs       // the same, and those that followed
	store   storage.Store
	cluster *cluster // nil where this process is alone

	// of a gateway
	verifier *auth.Verifier
	sessions *presence.Memory
	delivery *delivery.Delivery
	gateway  *gateway.Gateway
	engine   *engine.Engine
	web      *web.Server

	// of a processor
	shards *shard.Shards    // of the newest epoch at the start
	remote *delivery.Remote // nil where this process is alone
	push   *push.Queue

	providers push.Senders // of both

	background sync.WaitGroup  // admin, key files, sweep, links
	life       context.Context // ends when they have to
	cancel     context.CancelFunc
	following  sync.WaitGroup     // follow
	stay       context.CancelFunc // ends it
	stopped    atomic.Bool
}

// ErrData is wrapped by errors of the data folder.
var ErrData = errors.New("the data folder cannot be used")

// Start starts everything and returns when clients can connect. ctx bounds the
// start only. On an error nothing is left running.
func Start(ctx context.Context, cfg *config.Config, o Options) (*Server, error) {
	life, cancel := context.WithCancel(context.Background())
	s := &Server{cfg: cfg, logger: o.Logger, life: life, cancel: cancel}
	following, stay := context.WithCancel(life)
	s.stay = stay
	if err := s.start(ctx, life, following, o); err != nil {
		s.abandon()
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx, life, following context.Context, o Options) (err error) {
	listen := admin.Options{Listen: s.cfg.Admin, Version: o.Version, Level: o.Level, Logger: o.Logger}
	if s.admin, err = admin.Listen(listen); err != nil {
		return err
	}
	s.run(func() { // while the rest comes up it says so
		if err := s.admin.Serve(); err != nil {
			s.logger.Error("the admin server ended", "err", err)
		}
	})
	if err := s.openProviders(); err != nil {
		return err
	}
	if err := s.openBackends(ctx); err != nil {
		return err
	}
	s.openEpochs()
	if s.cfg.Clustered() {
		if err := s.joinCluster(); err != nil {
			return err
		}
	}
	if s.cfg.Gateway() {
		if err := s.authenticate(); err != nil {
			return err
		}
		s.run(func() { s.verifier.Watch(life, s.cfg.Auth.ReloadEvery) })
		if err := s.openWeb(); err != nil {
			return err
		}
	}
	if err := s.join(ctx); err != nil {
		return err
	}
	s.run(func() { s.sweep(life) })
	if s.epochs.newest.Load() != nil {
		s.following.Go(func() { s.follow(following) })
	}
	s.admin.Started()
	return nil
}

func (s *Server) run(f func()) { s.background.Go(f) }

// authenticate makes the verifier, with the development key where it is taken.
func (s *Server) authenticate() error {
	c := s.cfg
	if c.UseDevKey() {
		key, created, err := auth.LoadOrCreateDevKey(c.Data)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrData, err)
		}
		s.dev = &key
		if created {
			s.logger.Info("made a development key: who reads the data folder can be anybody", "folder", c.Data)
		}
	}
	var err error
	s.verifier, err = auth.NewVerifier(auth.Options{
		KeysFile: c.Auth.Keys, RevokedFile: c.Auth.Revoked, Algorithms: c.Auth.Algorithms, Dev: s.dev,
		TokenMaxBytes: c.Auth.TokenMaxBytes, Leeway: c.Auth.Leeway, CachedTokens: c.Auth.CachedTokens, Logger: s.logger,
		OnRevoked: func(u chat.User) { s.gateway.Revoke(u) },
	})
	return err
}

// join starts the owners, the gateway and the loops, in the order in which a
// message passes them backwards, so that each finds the next one running.
func (s *Server) join(ctx context.Context) error {
	var loops int
	var gw atomic.Pointer[gateway.Gateway] // the owners start before there is one
	if s.cfg.Gateway() {
		loops, s.sessions = s.loops(), presence.NewMemory()
		s.delivery = delivery.New(s.log.Partitions(), loops, s.sessions, gateway.LoopOf, func(loop int, m *delivery.Mail) {
			if g := gw.Load(); g != nil {
				g.Post(loop, m)
			} else {
				m.Free()
			}
		})
	}
	ends := make([]chat.Position, s.log.Partitions())
	for p := range ends {
		ends[p] = s.log.End(p)
	}
	if s.cfg.Processor() {
		if err := s.startPush(); err != nil {
			return err
		}
		if err := s.startOwners(ctx); err != nil {
			return err
		}
	}
	if s.cfg.Gateway() {
		var err error
		if s.gateway, err = gateway.New(s.gatewayOptions(), s.log, s.store, s.owners(), s.sessions); err != nil {
			return err
		}
		if e := s.epochs.newest.Load(); e != nil {
			s.gateway.Follow(e.route())
		}
		gw.Store(s.gateway)
	}
	s.observe()
	if s.cluster != nil {
		s.cluster.gateway.Store(s.gateway)
		s.cluster.serve(s)
	} else if err := s.awaitApplied(ctx, ends); err != nil {
		return fmt.Errorf("stopped while the log's end was applied: %w", err)
	}
	if s.cfg.Gateway() {
		return s.listen(loops)
	}
	return nil
}

func (s *Server) loops() int {
	if n := s.cfg.Engine.Loops; n > 0 {
		return n
	}
	return runtime.GOMAXPROCS(0)
}

// startOwners starts the owners of the partitions that are this process's.
func (s *Server) startOwners(ctx context.Context) (err error) {
	if s.cluster == nil {
		s.delivery.Nowhere = s.push.Offer
		s.shards, err = s.startShards(ctx, s.log, s.delivery, nil)
		return err
	}
	if err := s.ownEpochs(ctx); err != nil {
		return err
	}
	newest := s.epochs.newest.Load()
	s.shards, s.remote = newest.shards, newest.remote
	return nil
}

// owners are who the gateway asks how far its users' partitions are.
func (s *Server) owners() gateway.Owners {
	if s.cluster == nil {
		return ownersHere{s.shards}
	}
	return ownersElsewhere{&s.epochs}
}

// listen starts the loops.
func (s *Server) listen(loops int) (err error) {
	c := s.cfg
	s.engine, err = engine.Start(engine.Options{
		Listen: c.Listen, Loops: loops, MaxConns: c.Engine.MaxConnections, AcceptPerSecond: c.Engine.AcceptPerSecond,
		MaxOutBytes: c.Engine.OutBytesPerConnection, MaxOutTotalBytes: c.Engine.OutBytesTotal, OwnDescriptors: c.Engine.OwnDescriptors, TurnEvery: c.Engine.TurnEvery, Logger: s.logger,
	}, s.gateway)
	if err != nil {
		return err
	}
	s.admin.Register(admin.Engine(s.engine.Stats))
	return s.serveWeb()
}

// awaitApplied waits until the owners have stored what the log held at the
// start, or have halted. Before, caught_up would be below what was shown then.
func (s *Server) awaitApplied(ctx context.Context, ends []chat.Position) error {
	tick := time.NewTicker(applyPoll)
	defer tick.Stop()
	for {
		behind := false
		for _, st := range s.shards.Stats() {
			behind = behind || st.Applied < ends[st.Partition] && !st.Halted
		}
		if !behind {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (s *Server) gatewayOptions() gateway.Options {
	c := &s.cfg.Session
	o := gateway.DefaultOptions()
	o.Verify = func(token string) (gateway.Identity, error) {
		id, err := s.verifier.Verify(token)
		return gateway.Identity(id), err
	}
	o.Origins = s.cfg.Auth.Origins
	if s.web != nil {
		o.Origins = slices.Concat(o.Origins, s.web.Origins())
	}
	o.HandshakeTimeout, o.HelloTimeout = c.HandshakeTimeout, c.HelloTimeout
	o.Heartbeat, o.Idle, o.ExpiryNotice = c.Heartbeat, c.Idle, c.ExpiryNotice
	o.MessageBytes, o.ContentBytes, o.MediaBytes, o.Deflate = c.MessageBytes, c.ContentBytes, c.MediaBytes, c.Deflate
	o.Rate, o.RateBurst, o.RateBytes = c.RateMessages, c.RateBurst, c.RateBytes
	o.Inflight, o.Window, o.WindowBytes, o.Watches = c.Inflight, c.Window, c.WindowBytes, c.Watches
	o.Devices = c.Devices
	k := &s.cfg.Keys
	o.GroupMembers, o.GroupInfo = s.cfg.Groups.Members, int(s.cfg.Groups.Info)
	o.Blocks = s.cfg.Session.Blocks
	o.Keys, o.KeyRate = keydir.Limits{OneTime: k.OneTime, Low: min(k.Low, k.OneTime), Users: k.Users, Devices: k.Devices}, k.Rate
	o.HistoryRows, o.ChatRows, o.Requests, o.Workers = c.HistoryRows, c.HistoryRows, c.Requests, c.Readers
	o.FutureLimit, o.RetryAge, o.MaxTTL = c.IDFuture, c.RetryAge, c.TTLMax
	o.PendingPerAddress = c.UnauthenticatedPerAddress
	o.Proxy = proxyaddr.Mode(slices.Index(proxyaddr.Names, s.cfg.ListenProxy))
	o.Trusted, _ = proxyaddr.ParseTrusted(s.cfg.ListenTrusted) // the configuration was checked
	o.DrainURL, o.DrainJitter = s.cfg.Drain.URL, s.cfg.Drain.Retry
	o.Logger = s.logger
	if s.cluster != nil {
		o.Elsewhere = s.cluster.elsewhere()
	}
	if len(s.providers) > 0 {
		o.CheckPush = s.providers.Check
	}
	return o
}

// Addr is where clients connect, nil without a gateway.
func (s *Server) Addr() net.Addr {
	if s.engine == nil {
		return nil
	}
	return s.engine.Addr()
}

// LoopsEnded is closed when the event loops have ended, also by themselves, as
// they do when the process is out of descriptors. It is nil without a gateway.
func (s *Server) LoopsEnded() <-chan struct{} {
	if s.engine == nil {
		return nil
	}
	return s.engine.Done()
}

// AdminAddr is where operators look.
func (s *Server) AdminAddr() net.Addr { return s.admin.Addr() }

// DevKey returns the development key, or nil when its tokens are not taken.
func (s *Server) DevKey() *auth.Key { return s.dev }

// Reload reads the key set and the revocation list again.
func (s *Server) Reload() error {
	if s.verifier == nil {
		return nil
	}
	return s.verifier.Reload()
}

// Stop drains: not ready, clients told where and when to come back, what they
// sent acknowledged, the log flushed. It takes the configured grace at most,
// less when ctx ends, and then closes what is left.
func (s *Server) Stop(ctx context.Context) error {
	s.stopped.Store(true)
	s.admin.Drain()
	if s.engine != nil {
		s.engine.StopAccepting()
		grace, cancel := context.WithTimeout(ctx, s.cfg.Drain.Grace)
		defer cancel()
		sessions := time.Duration(s.gateway.Stats.Sessions.Load())
		s.gateway.Drain(grace, min(sessions*byeEach, s.cfg.Drain.Grace/2))
		s.web.Stop(grace) // what is under way gets the same time
		s.waitGone(grace)
	}
	return s.end()
}

// waitGone waits until every connection has closed, or the grace is over.
func (s *Server) waitGone(ctx context.Context) {
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	for s.engine.Stats().Open > 0 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// end stops what runs, or has started so far: links of other processes first, as
// what they brought waits for the loops; sockets, so that nothing new comes; then the owners, which store what the log holds; then the log and the
// store.
func (s *Server) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	s.stay()
	s.following.Wait()
	var errs []error
	if s.web != nil {
		errs = append(errs, s.web.Stop(ctx))
	}
	if s.cluster != nil {
		s.cluster.stopLinks(ctx)
	}
	if s.engine != nil {
		errs = append(errs, s.engine.Stop(ctx))
	}
	if s.gateway != nil {
		s.gateway.Close()
	}
	errs = append(errs, s.stopOwners(ctx))
	if s.push != nil {
		s.push.Stop(ctx)
	}
	if s.cluster != nil {
		s.cluster.stop()
	}
	errs = append(errs, s.closeLogs())
	s.cancel() // the sweep has to end before the store
	if s.admin != nil {
		errs = append(errs, s.admin.Stop(ctx))
	}
	s.background.Wait()
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}

// abandon undoes a start that failed.
func (s *Server) abandon() { s.end() }

// sweep deletes what has expired, in small steps.
func (s *Server) sweep(ctx context.Context) {
	every := time.NewTicker(sweepEvery)
	defer every.Stop()
	for {
		more, err := s.sweepOnce(ctx, chat.MillisNow())
		if err != nil && ctx.Err() == nil {
			s.logger.Error("sweep failed", "err", err)
		}
		var pause <-chan time.Time = every.C
		if more && err == nil {
			pause = time.After(sweepPause)
		}
		select {
		case <-ctx.Done():
			return
		case <-pause:
		}
	}
}

func (s *Server) sweepOnce(ctx context.Context, now int64) (more bool, err error) {
	keep := &s.cfg.Retention
	return s.store.Sweep(ctx, now, now-keep.Inbox.Milliseconds(), messagesBefore(now, keep.Messages))
}

// messagesBefore is the time, ms since 1970, whose older messages are deleted.
// It moves in steps, as with each the store goes round all chats, and stays one
// behind, so that inboxes are swept first where both are kept as long.
func messagesBefore(now int64, keep time.Duration) int64 {
	step := min(maxSweepStep, keep/10).Milliseconds()
	return (now-keep.Milliseconds())/step*step - step
}
