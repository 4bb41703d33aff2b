package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/e2ee"
)

// CryptoFigures are what one step of end-to-end encryption costs a client: the
// SDK's whole way, with keys in memory, and nothing of a connection.
type CryptoFigures struct {
	SDK    string  `json:"sdk"` // go; node, the TypeScript SDK there
	What   string  `json:"what"`
	Of     string  `json:"of"`                    // what the figure is for
	CPUUs  float64 `json:"cpu_us"`                // processor time, median of the rounds
	Spread Spread  `json:"cpu_us_range"`          // over the rounds
	OfGo   *Spread `json:"times_of_go,omitempty"` // as a multiple of the Go SDK's in the same round
}

// Rounds of the two SDKs take turns.
const (
	cryptoRounds     = 15
	cryptoTime       = 150 * time.Millisecond // that a step begins anew, in a round
	cryptoAttachment = 1_000_000              // bytes
	cryptoRotate     = 5_000                  // messages of a session, the most there may be
)

// cryptoSteps are what is measured, in this order. sdk/js/bench/round.ts does
// the same by the same names.
var cryptoSteps = []struct{ name, of string }{
	{"device", "device"},                  // its keys made, 50 of them one-time keys, signed and published
	{"begin", "device"},                   // to write to a new one: keys checked and claimed, Olm and Megolm sessions, a key share
	{"accept", "device"},                  // the other side of that
	{"olm encrypt", "key share"},          // another Megolm session made, and its key encrypted for a device by an Olm session
	{"olm decrypt", "key share"},          // the other side
	{"megolm encrypt", "message"},         // a message of so many bytes
	{"megolm decrypt", "message"},         // the other side, with where it stands judged and noted
	{"attachment encrypt", "1,000,000 B"}, // a file with a key of its own
	{"attachment decrypt", "1,000,000 B"},
}

// cryptoCosts are what steps took in a round, in µs of processor time, by name.
type cryptoCosts map[string]float64

// cryptography measures end-to-end encryption in the Go SDK, in this process, and in
// the TypeScript SDK in a process of Node, where scripts/js.sh rounds has been.
func cryptography(ctx context.Context, o *Options, res *Result) error {
	setDefault(&o.Duration, cryptoTime)
	res.SizeBytes, res.Seconds = o.Size, o.Duration.Seconds()
	ours, err := newCryptoWorld(o)
	if err != nil {
		return err
	}
	defer ours.close()
	node, err := startNode(ctx, o)
	if errors.Is(err, errNoNode) {
		res.Warnings = append(res.Warnings, err.Error())
	} else if err != nil {
		return err
	}
	defer node.end()
	sdks := []struct {
		name   string
		round  func(context.Context) (cryptoCosts, error)
		rounds []cryptoCosts
	}{{name: "go", round: ours.round}, {name: "node", round: node.round}}
	if node == nil {
		sdks = sdks[:1]
	}
	for round := range cryptoRounds + 1 { // the first warms it up
		for i := range sdks {
			if err := ctx.Err(); err != nil {
				return err
			}
			costs, err := sdks[i].round(ctx)
			if err != nil {
				return fmt.Errorf("bench: crypto, %s: %w", sdks[i].name, err)
			}
			if round > 0 {
				sdks[i].rounds = append(sdks[i].rounds, costs)
			}
		}
	}
	for _, step := range cryptoSteps {
		for i := range sdks {
			var us, of []float64
			for round, costs := range sdks[i].rounds {
				us = append(us, costs[step.name])
				of = append(of, costs[step.name]/sdks[0].rounds[round][step.name])
			}
			f := CryptoFigures{SDK: sdks[i].name, What: step.name, Of: step.of, Spread: SpreadOf(us)}
			if f.CPUUs = f.Spread.Median; i > 0 {
				spread := SpreadOf(of)
				f.OfGo = &spread
			}
			res.Crypto = append(res.Crypto, f)
		}
	}
	return nil
}

// cryptoWorld is the Go SDK's devices and their key directory, in memory.
type cryptoWorld struct {
	each      time.Duration
	body      []byte
	file      []byte
	keys      *cryptoDirectory
	n         uint64        // of the last message
	alice     *e2ee.Machine // writes to bob, and to all that are new
	rotating  *e2ee.Machine // a user who begins a session for each message to bob
	bob       *e2ee.Machine
	newcomers int
}

func newCryptoWorld(o *Options) (w *cryptoWorld, err error) {
	w = &cryptoWorld{each: o.Duration, body: make([]byte, o.Size), file: make([]byte, cryptoAttachment), keys: newCryptoDirectory()}
	rand.Read(w.body)
	rand.Read(w.file)
	for _, m := range []struct {
		name string
		to   **e2ee.Machine
		o    e2ee.Options
	}{{"alice", &w.alice, e2ee.Options{}}, {"rotating", &w.rotating, e2ee.Options{RotateAfter: 1}}, {"bob", &w.bob, e2ee.Options{}}} {
		if err == nil {
			*m.to, err = w.open(m.name, m.o)
		}
	}
	// Both have written, so that their Olm sessions are settled.
	if err == nil {
		_, err = w.encrypt(w.rotating, "bob")
	}
	if err == nil {
		err = w.take(w.bob)
	}
	if err == nil {
		_, err = w.encrypt(w.bob, "rotating")
	}
	if err == nil {
		err = w.take(w.rotating)
	}
	return w, err
}

func (w *cryptoWorld) open(user string, o e2ee.Options) (*e2ee.Machine, error) {
	o.RotateMessages = cryptoRotate
	m, err := e2ee.OpenMachine(user, cryptoDevice, w.keys.linkOf(user), nil, o)
	if err != nil {
		return nil, err
	}
	m.Start()
	return m, m.Published(context.Background())
}

func (w *cryptoWorld) close() {
	for _, m := range []*e2ee.Machine{w.alice, w.rotating, w.bob} {
		if m != nil {
			m.Close()
		}
	}
}

// encrypt makes a message as e2ee.Client does.
func (w *cryptoWorld) encrypt(from *e2ee.Machine, to string) (content []byte, err error) {
	seal, done, err := from.Ready(context.Background(), to, e2ee.TypeBody, w.body)
	if err != nil {
		return nil, err
	}
	defer done()
	w.n++
	return seal(stageID(w.n))
}

// take gives a device the key shares that wait.
func (w *cryptoWorld) take(m *e2ee.Machine) error {
	for _, s := range w.keys.taken() {
		w.n++
		if _, err := m.Take(context.Background(), chat.Message{ID: stageID(w.n), From: chat.User(s.from), To: chat.User(s.to), Suite: chat.SuiteKeyShare, Content: s.content, Place: chat.Position(w.n)}, false); err != nil {
			return err
		}
		if e := m.Next(); e != nil {
			return fmt.Errorf("a key share led to %+v", e)
		}
	}
	return m.Sync()
}

// round measures every step.
func (w *cryptoWorld) round(context.Context) (cryptoCosts, error) {
	costs := cryptoCosts{}
	return costs, errors.Join(w.sessions(costs), w.shares(costs), w.messages(costs), w.attachments(costs))
}

// meter sums the processor time of this process while something was done.
type meter struct {
	took time.Duration
	n    int
}

func (m *meter) of(f func() error) error {
	before := selfCPU()
	err := f()
	m.took += selfCPU() - before
	m.n++
	return err
}

func (m *meter) us() float64 { return float64(m.took.Nanoseconds()) / 1e3 / float64(m.n) }

// sessions makes devices, and has alice write to each.
func (w *cryptoWorld) sessions(costs cryptoCosts) (err error) {
	var device, begin, accept meter
	for start := time.Now(); time.Since(start) < w.each && err == nil; {
		w.newcomers++
		name := fmt.Sprintf("user%07d", w.newcomers)
		var m *e2ee.Machine
		if err = device.of(func() (err error) { m, err = w.open(name, e2ee.Options{}); return err }); err == nil {
			err = begin.of(func() error { return w.begin(w.alice, name) })
		}
		if err == nil {
			err = accept.of(func() error { return w.take(m) })
		}
		if m != nil {
			err = errors.Join(err, m.Close())
		}
	}
	costs["device"], costs["begin"], costs["accept"] = device.us(), begin.us(), accept.us()
	return err
}

// begin makes a chat ready for a message, and writes none.
func (w *cryptoWorld) begin(from *e2ee.Machine, to string) error {
	_, done, err := from.Ready(context.Background(), to, e2ee.TypeBody, w.body)
	if err == nil {
		done()
	}
	return err
}

func (w *cryptoWorld) shares(costs cryptoCosts) (err error) {
	var encrypt, decrypt meter
	for start := time.Now(); time.Since(start) < w.each && err == nil; {
		if err = encrypt.of(func() error { return w.begin(w.rotating, "bob") }); err == nil {
			err = decrypt.of(func() error { return w.take(w.bob) })
		}
	}
	costs["olm encrypt"], costs["olm decrypt"] = encrypt.us(), decrypt.us()
	return err
}

func (w *cryptoWorld) messages(costs cryptoCosts) (err error) {
	var encrypt, decrypt meter
	var sent []chat.Message
	for start := time.Now(); time.Since(start) < w.each && err == nil; {
		err = encrypt.of(func() error {
			content, err := w.encrypt(w.alice, "bob")
			sent = append(sent, chat.Message{ID: stageID(w.n), From: "alice", To: "bob", Suite: chat.SuiteMegolm, Content: content, Place: chat.Position(w.n)})
			return err
		})
	}
	if err == nil {
		err = w.take(w.bob)
	}
	for i := 0; i < len(sent) && err == nil; i++ {
		err = decrypt.of(func() error {
			e, err := w.bob.Take(context.Background(), sent[i], false)
			if m, ok := e.(client.Message); err == nil && (!ok || !bytes.Equal(m.Content, w.body)) {
				return fmt.Errorf("a message came as %+v", e)
			}
			return errors.Join(err, w.bob.Sync())
		})
	}
	costs["megolm encrypt"], costs["megolm decrypt"] = encrypt.us(), decrypt.us()
	return err
}

func (w *cryptoWorld) attachments(costs cryptoCosts) (err error) {
	var encrypt, decrypt meter
	var sealed bytes.Buffer
	for start := time.Now(); time.Since(start) < w.each && err == nil; {
		sealed.Reset()
		var a e2ee.Attachment
		err = encrypt.of(func() (err error) {
			a, err = e2ee.EncryptAttachment(&sealed, bytes.NewReader(w.file), cryptoAttachment, false)
			return err
		})
		if err == nil {
			err = decrypt.of(func() error { return e2ee.DecryptAttachment(io.Discard, &sealed, a) })
		}
	}
	costs["attachment encrypt"], costs["attachment decrypt"] = encrypt.us(), decrypt.us()
	return err
}
