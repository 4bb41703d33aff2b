package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stormOptions say what a storm is like.
type stormOptions struct {
	root, bin, dir, out  string
	warm, duration       time.Duration
	rate, sockets        int
	brokers, partitions  int
	gateways, processors int
	awayShare            float64
	markEvery            time.Duration
	faults               string // names of kinds, comma-separated; "" none
	scenes               string
	hold, calm           time.Duration
	outage               time.Duration
	patience             time.Duration
	seed                 uint64
	keep                 bool
	large                bool
	groups, members      int
	toGroups             int
	targets              string
	expect               string
}

// storm is a cluster, its clients and what was seen of them.
type storm struct {
	crowd
	o       *stormOptions
	cl      *cluster
	signer  *signer
	http    *http.Client
	clients []*client
	times   *times
	rng     *rand.Rand // of the faults
	groups  []*group
	phones  map[string]*client // by user
	checks  []check            // of an outage
}

// chaosMain is `checker chaos`. Exit 0: all promises held. 1: a fault was found.
// 2: a flag cannot be. 3: the run itself failed and proves nothing.
func chaosMain(args []string) int {
	o := &stormOptions{}
	fs := flag.NewFlagSet("chaos", flag.ContinueOnError)
	fs.StringVar(&o.root, "root", ".", "the project's folder")
	fs.StringVar(&o.bin, "server", "bin/rookery", "the binary under test")
	fs.StringVar(&o.dir, "dir", "", "folder for data and logs; empty is a temporary one, kept when a fault is found")
	fs.StringVar(&o.out, "out", "", "folder for the report; empty is none")
	fs.DurationVar(&o.duration, "duration", 30*time.Minute, "of the load")
	fs.DurationVar(&o.warm, "warm", 0, "load before that, whose latencies are not counted")
	fs.IntVar(&o.rate, "rate", 2000, "messages a second, whatever becomes of them")
	fs.IntVar(&o.sockets, "sockets", 3000, "devices; every third user has two")
	fs.IntVar(&o.brokers, "brokers", 3, "3, each of which holds everything, or 1, which is never to fail")
	fs.IntVar(&o.partitions, "partitions", 8, "partitions of the log")
	fs.IntVar(&o.gateways, "gateways", 3, "gateways, at most 4")
	fs.IntVar(&o.processors, "processors", 2, "processors")
	fs.IntVar(&o.groups, "groups", 8, "groups, whose members join and leave meanwhile; one alone is as large as it may be")
	fs.IntVar(&o.members, "members", 40, "of a group, at most; at least 6")
	fs.IntVar(&o.toGroups, "to-groups", 20, "one message in so many, of who is in a group, goes to one")
	fs.Float64Var(&o.awayShare, "away", 0.05, "share of devices that are away at a time")
	fs.DurationVar(&o.markEvery, "mark-every", 200*time.Millisecond, "least time between two marks of a device")
	fs.StringVar(&o.faults, "faults", "kill,pause,cut", "kinds of random faults")
	fs.StringVar(&o.targets, "targets", "", "what they befall; empty is everything: broker, cassandra, redis, gateway, processor, haproxy")
	fs.BoolVar(&o.large, "large", false, "servers as those that are measured are: faster, and not to be killed")
	fs.StringVar(&o.scenes, "scenes", "all", "named scenes beside the random faults: all, none, or their names")
	fs.DurationVar(&o.hold, "hold", 8*time.Second, "how long a fault stays, about; longer than a consumer's session timeout of 6 s")
	fs.DurationVar(&o.calm, "calm", 6*time.Second, "time between a healed fault and the next")
	fs.DurationVar(&o.outage, "outage", 0, "instead of faults: stop Cassandra for so long, then Kafka for a fifth of it; the load should last twice as long")
	fs.DurationVar(&o.patience, "patience", time.Minute, "what is missing when nothing has come for so long at the end is lost")
	fs.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of the faults' order and the devices")
	fs.BoolVar(&o.keep, "keep", false, "keep the folder for data and logs")
	fs.StringVar(&o.expect, "expect", "", "kinds of faults, comma-separated, of which one has to be found: turns the exit code round")
	if fs.Parse(args) != nil || fs.NArg() > 0 {
		return 2
	}
	if o.members <= fewestMembers || o.toGroups < 1 {
		fmt.Fprintf(os.Stderr, "checker: --members is more than %d, --to-groups at least 1\n", fewestMembers)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := &storm{crowd: crowd{ledger: newLedger()}, o: o, rng: rand.New(rand.NewPCG(o.seed, 7))}
	err := s.run(ctx)
	return s.verdict(err)
}

// verdict says what was found, and returns the exit code.
func (s *storm) verdict(err error) int {
	l := s.ledger
	for i, f := range l.faults {
		if i == 3 && s.o.expect != "" {
			break
		}
		fmt.Println("FAULT", f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "checker:", err)
	}
	switch {
	case s.o.expect != "" && s.found():
		fmt.Printf("found as expected, with seed %d\n", s.o.seed)
		os.RemoveAll(s.o.dir)
		return 0
	case s.o.expect != "":
		fmt.Printf("none of %s was found; data and logs in %s\n", s.o.expect, s.o.dir)
		return 1
	case l.count > 0:
		fmt.Printf("%d faults with seed %d; data and logs in %s\n", l.count, s.o.seed, s.o.dir)
		return 1
	case err != nil:
		fmt.Printf("the run failed and proves nothing; logs in %s\n", s.o.dir)
		return 3
	}
	if !s.o.keep {
		os.RemoveAll(s.o.dir)
	}
	fmt.Println("lost 0, unexpected 0, doubled 0, out of order 0: all promises held")
	return 0
}

// found reports whether a fault was found that was expected.
func (s *storm) found() bool {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	for _, f := range s.ledger.faults {
		if kind, _, _ := strings.Cut(f, ":"); slices.Contains(strings.Split(s.o.expect, ","), kind) {
			return true
		}
	}
	return false
}

func (s *storm) run(ctx context.Context) (err error) {
	o := s.o
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "rookery-chaos-"); err != nil {
			return err
		}
	}
	for _, p := range []*string{&o.dir, &o.root, &o.bin} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	fmt.Printf("seed %d, %v at %d msg/s over %d sockets, in %s\n", o.seed, o.duration, o.rate, o.sockets, o.dir)
	if _, err := s.plan(); err != nil {
		return err
	}
	s.cl = newCluster(o.root, o.dir, o.bin, o.brokers, o.partitions, o.gateways, o.processors)
	s.cl.large = o.large
	defer s.cl.down()
	if err := s.cl.up(ctx); err != nil {
		return err
	}
	fmt.Println("the cluster is up at", s.cl.url)
	if s.signer, err = loadSigner(o.dir); err != nil {
		return err
	}
	if s.http, err = httpClient(filepath.Join(o.root, ".cache/services/tls/ca.crt")); err != nil {
		return err
	}
	s.times = newTimes()
	living, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var all sync.WaitGroup
	s.people()
	for i, c := range s.clients {
		all.Go(func() {
			wait(living, nil, time.Duration(i)*4*time.Millisecond) // some hundred handshakes a second
			c.live(living)
		})
	}
	defer func() { end(); all.Wait() }()
	if err := s.until(ctx, 3*time.Minute, "everybody has begun and is caught up", func() bool {
		return s.crowd.all(func(d *device) bool { return d.begun && d.ups > 0 })
	}); err != nil {
		return err
	}
	if err := s.load(ctx, living); err != nil || s.found() {
		return errors.Join(err, s.tell())
	}
	return s.settle(ctx)
}

// load runs the load and the faults for the storm's time.
func (s *storm) load(ctx, living context.Context) error {
	fmt.Println("everybody is there")
	if err := s.makeGroups(ctx); err != nil {
		return err
	}
	loading, done := context.WithTimeout(ctx, s.o.warm+s.o.duration)
	defer done()
	var all sync.WaitGroup
	all.Go(func() { s.sendAll(loading) })
	all.Go(func() { s.churn(loading) })
	wait(loading, nil, s.o.warm)
	s.times.mu.Lock()
	s.times.began, s.times.seconds = time.Now(), nil
	s.times.mu.Unlock()
	if s.o.outage == 0 { // who leaves while there is no store is not let in again
		all.Go(func() { s.comeAndGo(loading) })
	}
	go s.watch(living)
	err := s.trouble(loading)
	if err != nil {
		done()
	}
	all.Wait()
	return errors.Join(err, ctx.Err())
}

func httpClient(ca string) (*http.Client, error) {
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", ca)
	}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true, ReadBufferSize: 1 << 10, WriteBufferSize: 1 << 10,
		TLSHandshakeTimeout: time.Minute,
	}}, nil
}

// people makes the devices: every third user has two.
func (s *storm) people() {
	users := s.o.sockets * 3 / 4
	name := func(i int) string { return fmt.Sprintf("user%d", i%users) }
	for i := range users {
		var peers []string
		for j := range min(5, users-1) {
			peers = append(peers, name(i+1+j*j*7+j*13))
		}
		s.person(newDevice(name(i), "phone", peers, 128, s.ledger, s.rng.Uint64()))
		if i%3 == 0 {
			s.person(newDevice(name(i), "laptop", peers, 128, s.ledger, s.rng.Uint64()))
		}
	}
}

func (s *storm) person(d *device) {
	s.devices = append(s.devices, d)
	s.clients = append(s.clients, s.newClient(d))
}

// sendAll sends at the rate, from devices that are not away, whatever becomes of it.
func (s *storm) sendAll(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	began, sent := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for due := int(time.Since(began).Seconds() * float64(s.o.rate)); sent < due; {
			if s.clients[rand.IntN(len(s.clients))].send() {
				sent++
			}
		}
	}
}

// comeAndGo keeps a share of the devices away, each for some seconds. Every
// third forgets what it had not persisted.
func (s *storm) comeAndGo(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	const longest = 30 * time.Second
	perSecond := s.o.awayShare * float64(len(s.clients)) / (longest.Seconds() / 2)
	for owed := 0.0; ; {
		select {
		case <-ctx.Done():
			for _, c := range s.clients {
				c.comeBack()
			}
			return
		case <-tick.C:
		}
		for owed += perSecond; owed >= 1; owed-- {
			c := s.clients[rand.IntN(len(s.clients))]
			if c.away.Load() {
				continue
			}
			c.leave(rand.IntN(3) == 0)
			time.AfterFunc(rand.N(longest), c.comeBack)
		}
	}
}

// watch looks at everything once a second until the end.
func (s *storm) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var accepted, attempted, delivered, refused int
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		online, refusals := 0, 0
		for _, c := range s.clients {
			on, r := c.look(time.Now())
			refusals += r
			if on {
				online++
			}
		}
		l := s.ledger
		l.mu.Lock()
		a, b, d, faults := l.accepted, l.attempted, l.delivered, l.count
		l.mu.Unlock()
		var p50, p99 float64
		memory, lag := s.cl.memory(), -1.0
		if n%5 == 0 {
			lag = s.cl.lag(ctx)
		}
		s.times.sample(func(t *second) {
			t.attempted, t.accepted, t.delivered, t.refused, t.online = b-attempted, a-accepted, d-delivered, refusals-refused, online
			t.memory, t.lag = memory, lag
		})
		if n%10 == 0 {
			p50, p99 = s.times.latest(10)
			fmt.Printf("%4d s  %d online, %d/s attempted, %d/s accepted, latency p50 %.1f ms p99 %.1f ms, %d wait for an answer, lag %.0f, %d faults\n",
				n, online, b-attempted, a-accepted, p50, p99, b-a, lag, faults)
			l.settle(time.Now().Add(-time.Minute))
		}
		accepted, attempted, delivered, refused = a, b, d, refusals
	}
}

// until waits for something.
func (s *storm) until(ctx context.Context, patience time.Duration, what string, f func() bool) error {
	for end := time.Now().Add(patience); !f(); wait(ctx, nil, 200*time.Millisecond) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(end) {
			return fmt.Errorf("waited %v in vain until %s", patience, what)
		}
	}
	return nil
}

// settle waits until nothing more comes, and judges.
func (s *storm) settle(ctx context.Context) error {
	fmt.Println("healed; waiting until everything has come")
	for _, c := range s.clients {
		c.comeBack()
	}
	quiet := func() bool {
		return s.crowd.all(func(d *device) bool { return len(d.outbox) == 0 }) && s.complete()
	}
	last, end := -1, time.Now()
	for !quiet() {
		s.ledger.mu.Lock()
		n := s.ledger.delivered + s.ledger.accepted
		s.ledger.mu.Unlock()
		if n != last {
			last, end = n, time.Now().Add(s.o.patience)
		}
		if time.Now().After(end) {
			fmt.Printf("nothing came for %v, and not everything had\n", s.o.patience)
			break
		}
		if wait(ctx, nil, 500*time.Millisecond); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	s.crowd.each(func(_ int, d *device) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if len(d.outbox) > 0 {
			d.fault("stuck: %s has %d messages that were never accepted", d.who(), len(d.outbox))
		}
	})
	s.judge()
	if s.o.outage > 0 {
		s.after(ctx)
	}
	return s.tell()
}

// tell prints and writes what the run was.
func (s *storm) tell() error {
	s.times.finish()
	s.summary()
	if s.o.out != "" {
		return s.report()
	}
	return nil
}

// summary says in a few lines what the run was.
func (s *storm) summary() {
	l := s.ledger
	fmt.Printf("attempted %d, accepted %d, retried %d, delivered %d, again after a device's crash %d, caught up %d times, outcomes %d\n",
		l.attempted, l.accepted, l.retried, l.delivered, l.again, l.caughtUps, l.outcomes)
	if messages, changes, refused := l.groupCounts(); messages > 0 {
		fmt.Printf("%d groups: of these %d messages, of which %d changed who is in them, and %d were refused as of who was not\n", len(s.groups), messages, changes, refused)
	}
	for _, e := range s.times.events {
		fmt.Printf("  %6.1f s  %-10s %-12s healed after %5.1f s, whole after %5.1f s; %d cut off, back and caught up within p50 %.2f s, p99 %.2f s  %s\n",
			e.Begin, e.What, e.Target, e.Heal-e.Begin, e.Whole-e.Begin, e.Cut, e.P50, e.P99, e.Note)
	}
	p50, p99 := s.times.latest(len(s.times.seconds))
	fmt.Printf("latency over all p50 %.1f ms, p99 %.1f ms; %v; the checker took %.2f cores\n", p50, p99, s.times.counts, cpuSeconds()/time.Since(s.times.began).Seconds())
}
