package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/auth"
	"github.com/rookery-chat/rookery/packet"
)

// do carries out an order.
func (a *agent) do(ctx context.Context, o *order, rep *report) error {
	r := a.run
	if r.loop.failed != nil {
		return r.loop.failed
	}
	switch o.Op {
	case opClock:
		rep.NowNs = r.loop.clock()
	case opShift:
		r.loop.shift(o.ShiftNs)
	case opCounts:
	case opPrepare:
		return a.prepare(o.Connect)
	case opConnect:
		return a.connect(ctx, o.Connect, rep)
	case opLoad:
		return a.load(ctx, o.Load, rep)
	case opLatencies:
		return a.latencies(rep)
	case opExchange:
		return r.exchange(ctx, o.SizeBytes)
	case opFreeze:
		r.freeze()
	case opThaw:
		r.thaw()
	case opCut:
		r.cut()
	case opReconnect:
		return a.reconnect(ctx, o, rep)
	case opGroup:
		if o.First < 1 || o.Count < 1 || o.First+o.Count > r.total {
			return errors.New("bench: agent: who is to be in the group is not said")
		}
		r.gather(o.First, o.Count)
	case opReadBack:
		n, err := r.readBack(ctx, o.Samples, o.SizeBytes)
		rep.ReadBack = n
		return err
	default:
		return fmt.Errorf("bench: agent: unknown order %q", o.Op)
	}
	return nil
}

func (a *agent) prepare(o *connectOrder) (err error) {
	if o == nil || len(o.To) == 0 || o.Count < 0 || o.First < 0 || o.First+o.Count > o.Total {
		return errors.New("bench: agent: which sessions to open is not said")
	}
	r := a.run
	r.to, r.total, r.bare, r.apart = o.To, o.Total, o.Bare, 1
	if o.Apart {
		r.apart = len(o.To)
	}
	if r.total%r.apart != 0 {
		return fmt.Errorf("bench: agent: %d sessions are no multiple of %d servers", r.total, r.apart)
	}
	token := func(string) (string, error) { return "none", nil }
	if !o.Bare {
		key, err := keyOf(o.Key)
		if err != nil {
			return err
		}
		a.token = signer(key)
		if token = a.token; o.Returning {
			token = a.returning(o.Key)
		}
	}
	a.begun, err = r.prepare(o.First, o.Count, o.DevicesOf, token)
	return err
}

func (a *agent) connect(ctx context.Context, o *connectOrder, rep *report) error {
	if o == nil || o.Count != len(a.begun) || o.Rate == 0 && o.AtOnce < 1 {
		return errors.New("bench: agent: these sessions were not prepared")
	}
	r := a.run
	began, cpu := r.loop.clock(), selfCPU()
	err := r.connect(ctx, a.begun, o.AtOnce, o.Rate, o.Some)
	a.begun = nil
	rep.Seconds, rep.CPUNs = float64(r.loop.clock()-began)/1e9, int64(selfCPU()-cpu)
	return err
}

// keyOf reads the key that is in a file's bytes, by way of a file.
func keyOf(file []byte) (auth.Key, error) {
	dir, err := os.MkdirTemp("", "rookery-agent-")
	if err != nil {
		return auth.Key{}, err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, auth.DevKeyFile), file, 0o600); err != nil {
		return auth.Key{}, err
	}
	return auth.LoadDevKey(dir)
}

// signer makes tokens that a key signs.
func signer(key auth.Key) func(user string) (string, error) {
	return func(user string) (string, error) {
		return key.Sign(auth.NewClaims("", user, "", tokenFor))
	}
}

// returning makes a user's token the first time only: a device that comes back
// shows the one it had.
func (a *agent) returning(key []byte) func(user string) (string, error) {
	if !bytes.Equal(key, a.tokensKey) {
		a.tokensKey, a.tokens = key, map[string]string{}
	}
	return func(user string) (token string, err error) {
		token, ok := a.tokens[user]
		if !ok {
			if token, err = a.token(user); err == nil {
				a.tokens[user] = token
			}
		}
		return token, err
	}
}

func (a *agent) latencies(rep *report) error {
	rep.Latencies = map[string]string{}
	for name, h := range a.run.latencies() {
		s, err := encodeHistogram(h)
		if err != nil {
			return err
		}
		rep.Latencies[name] = s
	}
	return nil
}

// load sends from a start on that all agents share, through the warm-up and the
// time that counts.
func (a *agent) load(ctx context.Context, o *loadOrder, rep *report) error {
	r := a.run
	if o == nil || o.Rate < 0 || o.PerWrite < 1 || o.SizeBytes < 8 || o.MarkEveryNs <= 0 || o.LookEveryNs < 0 || o.LookEveryNs > int64(mostLookEvery) || r.total < 2 {
		return errors.New("bench: agent: what to send is not said, or to whom")
	}
	p := &pace{run: r, rate: o.Rate / float64(o.PerWrite), perWrite: o.PerWrite, size: o.SizeBytes, rng: rand.New(rand.NewPCG(1, o.Seed)), marking: o.MarkEveryNs, every: o.LookEveryNs}
	switch o.Pattern {
	case patternAnyTwo:
		p.pick = r.anyTwo
	case patternCircle:
		if o.Contacts < 2 || o.Contacts%2 != 0 || o.Contacts >= r.total {
			return fmt.Errorf("bench: agent: %d contacts of %d sessions; they are even, at least 2, and fewer than there are sessions", o.Contacts, r.total)
		}
		p.pick = r.circle(o.Contacts)
	case patternToSlow:
		if r.total <= slowReaders {
			return fmt.Errorf("bench: agent: %d sessions, of which %d stop reading", r.total, slowReaders)
		}
		r.stopping, p.pick = slowReaders, r.toSlow
	case patternOneWay:
		p.pick = r.firstToOne
	case patternGroup:
		p.pick = r.firstToGroup
	default:
		return fmt.Errorf("bench: agent: unknown pattern %q", o.Pattern)
	}
	r.clear()
	if r.encrypted, r.send = nil, (packet.Send{}); o.Encrypted {
		r.encrypted, r.send.Suite = rand.NewChaCha8([32]byte{byte(o.Seed)}), chat.SuiteMegolm
	}
	r.holdMarks = fromFirst(o.Pattern)
	warm := o.StartNs + o.WarmupNs
	if o.Rise {
		p.fromNs, p.riseNs = o.StartNs, o.WarmupNs
	}
	if p.nextNs = o.StartNs; !r.sends(o) {
		p.nextNs = 1 << 62
	}
	r.measureFromNs = warm
	if err := p.until(ctx, warm); err != nil {
		return err
	}
	err := p.counting(ctx, warm, warm+o.DurationNs, rep)
	r.holdMarks = false
	return err
}

// counting runs the load through the time that counts, and reports it.
func (p *pace) counting(ctx context.Context, fromNs, endNs int64, rep *report) error {
	r := p.run
	before, cpu, began := r.counts, selfCPU(), r.loop.clock()
	last, step := before, int64(stepOf(time.Duration(endNs-fromNs)))
	for at := fromNs + step; at <= endNs; at += step {
		if err := p.until(ctx, at); err != nil {
			return err
		}
		rep.Steps = append(rep.Steps, r.counts.since(last))
		last = r.counts
	}
	if err := p.until(ctx, endNs); err != nil {
		return err
	}
	rep.Seconds, rep.CPUNs = float64(r.loop.clock()-began)/1e9, int64(selfCPU()-cpu)
	rep.Window = r.counts.since(before)
	return nil
}

// sends says whether this process has who sends in a load.
func (r *run) sends(o *loadOrder) bool {
	switch {
	case o.Rate == 0 || len(r.conns) == 0:
		return false
	case fromFirst(o.Pattern):
		return r.conns[0].index == 0
	case o.Pattern == patternToSlow:
		return len(r.conns) > len(r.slow())
	}
	return true
}

// exchange sends a message from each session to the user after its own.
func (r *run) exchange(ctx context.Context, size int) error {
	if size < 8 {
		return errors.New("bench: agent: a message has at least 8 bytes")
	}
	for i, c := range r.conns {
		r.burst(c, (int(c.index)+r.apart)%r.total, 1, size, r.loop.clock())
		if i%burstsAtOnce == burstsAtOnce-1 {
			if err := r.loop.poll(r.loop.clock()); err != nil {
				return err
			}
			r.markAll()
		}
	}
	return ctx.Err()
}

// slowReaders is how many stop.
const slowReaders = 10

// slow are those of this process's sessions that stop reading.
func (r *run) slow() []*conn {
	if len(r.conns) == 0 {
		return nil
	}
	return r.conns[:min(max(r.stopping-int(r.conns[0].index), 0), len(r.conns))]
}

// freeze makes them read nothing. What goes to them is counted from here on.
func (r *run) freeze() {
	r.counts.ToFrozen, r.counts.FrozenGot = 0, 0
	for _, c := range r.slow() {
		c.frozen = true
		r.loop.want(c, false, false)
	}
}

func (r *run) thaw() {
	for _, c := range r.slow() {
		c.frozen = false
		r.loop.want(c, len(c.out) > 0, true)
	}
}

// cut ends all sessions abruptly and forgets them.
func (r *run) cut() {
	for _, c := range r.conns {
		r.loop.cut(c)
		c.reader.Release()
	}
	r.conns, r.marks, r.samples, r.done, r.live = nil, nil, nil, 0, 0
	r.counts, r.begunNs = counts{}, 0
	r.clear()
}

// selfCPU is the processor time of this process.
func selfCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
