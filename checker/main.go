package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

type options struct {
	bin           string
	dir           string
	rounds        int
	users, window int
	inflight      int
	seed          uint64
	longest       time.Duration
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "chaos" {
		os.Exit(chaosMain(os.Args[2:]))
	}
	o := options{}
	flag.StringVar(&o.bin, "server", "bin/rookery", "the binary under test")
	flag.StringVar(&o.dir, "dir", "", "folder for data and log; empty is a temporary one, kept when a fault is found")
	flag.IntVar(&o.rounds, "rounds", 10, "kills with enough in flight; one that finds less, as answers came while it was on its way, is made again")
	flag.IntVar(&o.users, "users", 24, "users; every third has two devices, every fourth is often away")
	flag.IntVar(&o.window, "window", 128, "sends in flight a device")
	flag.IntVar(&o.inflight, "inflight", 1000, "sends in flight in all at a kill, for it to count")
	flag.DurationVar(&o.longest, "longest", time.Second, "longest time from the load's start to a kill")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of everything random")
	flag.Parse()
	if err := run(&o); err != nil {
		fmt.Fprintln(os.Stderr, "checker:", err)
		os.Exit(1)
	}
}

// mostTries is how many kills are made, at most, for each that has to count.
const mostTries = 4

// world is a server, its devices and the truth about them.
type world struct {
	o      *options
	server *server
	signer *signer
	crowd
	rng   *rand.Rand
	ctx   context.Context
	kills int // with enough in flight
}

func run(o *options) error {
	temporary := o.dir == ""
	if temporary {
		dir, err := os.MkdirTemp("", "rookery-crash-")
		if err != nil {
			return err
		}
		o.dir = dir
	}
	log, err := os.Create(filepath.Join(o.dir, "server.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	w := &world{o: o, crowd: crowd{ledger: newLedger()}, rng: rand.New(rand.NewPCG(o.seed, 1)), ctx: context.Background()}
	w.server = &server{bin: o.bin, data: filepath.Join(o.dir, "data"), log: log, flags: []string{
		"--session-rate-messages=1000000", "--session-rate-burst=1000000", "--session-rate-bytes=1GiB", "--engine-accept-per-second=0",
	}}
	fmt.Printf("seed %d, %d kills\n", o.seed, o.rounds)
	if err := w.server.start(); err != nil {
		return err
	}
	defer w.server.kill()
	if w.signer, err = loadSigner(w.server.data); err != nil {
		return err
	}
	w.people()
	for round := 0; w.kills < o.rounds; round++ {
		if round == mostTries*o.rounds {
			return fmt.Errorf("%d of %d kills found %d sends in flight: the run proves too little", w.kills, round, o.inflight)
		}
		if err := w.round(round); err != nil {
			return fmt.Errorf("round %d: %w (log: %s)", round, err, log.Name())
		}
	}
	if err := w.settle(); err != nil {
		return fmt.Errorf("%w (log: %s)", err, log.Name())
	}
	w.judge()
	for _, d := range w.devices {
		d.disconnect()
	}
	l := w.ledger
	fmt.Printf("attempted %d, accepted %d, retried %d, delivered %d, again after a device's crash %d, caught up %d times, outcomes %d, %d kills with at least %d in flight\n",
		l.attempted, l.accepted, l.retried, l.delivered, l.again, l.caughtUps, l.outcomes, w.kills, o.inflight)
	for _, f := range l.faults {
		fmt.Println("FAULT", f)
	}
	if l.count > 0 {
		return fmt.Errorf("%d faults with seed %d; data and log in %s", l.count, o.seed, o.dir)
	}
	if temporary {
		os.RemoveAll(o.dir)
	}
	fmt.Println("lost 0, unexpected 0, doubled 0, out of order 0: all promises held")
	return nil
}

// people makes the devices.
func (w *world) people() {
	var names []string
	for i := range w.o.users {
		names = append(names, fmt.Sprintf("user%d", i))
	}
	for i, name := range names {
		peers := append(append([]string{}, names[:i]...), names[i+1:]...)
		w.rng.Shuffle(len(peers), func(a, b int) { peers[a], peers[b] = peers[b], peers[a] })
		peers = peers[:min(5, len(peers))]
		w.devices = append(w.devices, newDevice(name, "phone", peers, w.o.window, w.ledger, w.rng.Uint64()))
		if i%3 == 0 {
			w.devices = append(w.devices, newDevice(name, "laptop", peers, w.o.window, w.ledger, w.rng.Uint64()))
		}
	}
}

// round connects who is not away, lets them talk, and kills the server while
// enough is in flight.
func (w *world) round(round int) error {
	away := map[int]bool{}
	for i := range w.devices {
		// The first round is everybody's, so that every device has begun.
		away[i] = round > 0 && i%4 == 1 && w.rng.IntN(2) == 0
	}
	errs := make([]error, len(w.devices))
	w.each(func(i int, d *device) {
		d.mu.Lock()
		d.sending = !away[i]
		d.mu.Unlock()
		if !away[i] {
			errs[i] = d.connect(w.ctx, w.server.url, w.signer.token(d.user))
		}
	})
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	if round == 0 {
		if err := w.until("everybody has begun", func() bool { return w.all(func(d *device) bool { return d.begun }) }); err != nil {
			return err
		}
	}
	hold := time.Duration(w.rng.Int64N(int64(w.o.longest)))
	time.Sleep(hold) // the moment of the kill is what is random here
	if err := w.until("enough is in flight", func() bool { return w.inflight() >= w.o.inflight*11/10 }); err != nil {
		return err
	}
	w.server.kill()
	if w.inflight() >= w.o.inflight {
		w.kills++
	}
	w.each(func(_ int, d *device) { d.disconnect() })
	for i, d := range w.devices {
		if i%5 == round%5 {
			d.crash() // it had been sent more than it had persisted
		}
	}
	return w.server.start()
}

func (w *world) inflight() (n int) {
	for _, d := range w.devices {
		d.mu.Lock()
		n += d.inflight
		d.mu.Unlock()
	}
	return n
}

const patience = time.Minute

func (w *world) until(what string, f func() bool) error {
	for end := time.Now().Add(patience); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("waited %v in vain until %s", patience, what)
		}
	}
	return nil
}

// settle brings everybody back without new sends, and waits until all is quiet.
func (w *world) settle() error {
	var failed error
	w.each(func(_ int, d *device) {
		d.mu.Lock()
		d.sending = false
		d.mu.Unlock()
		if err := d.connect(w.ctx, w.server.url, w.signer.token(d.user)); err != nil {
			w.ledger.mu.Lock()
			failed = err
			w.ledger.mu.Unlock()
		}
	})
	if failed != nil {
		return failed
	}
	if err := w.until("every outbox is empty", func() bool { return w.all(func(d *device) bool { return len(d.outbox) == 0 }) }); err != nil {
		return err
	}
	// What is missing when nothing has come for this time is missing.
	for last, end := w.received(), time.Now().Add(patience); !w.complete(); time.Sleep(200 * time.Millisecond) {
		if n := w.received(); n > last {
			last, end = n, time.Now().Add(patience)
		}
		if time.Now().After(end) {
			fmt.Printf("nothing came for %v, and not everything had\n", patience)
			break
		}
	}
	return nil
}
