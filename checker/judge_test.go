package main

import (
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// story is two users of two devices and what a server that is not there says to
// them. Alice's phone sends to bob.
type story struct {
	t               *testing.T
	w               *world
	alice, aliceToo *device
	bob, bobToo     *device
	sent            []*message
	alicePos        uint64 // of alice's newest link
}

const first = 101 // of alice's sends, in bob's partition

func newStory(t *testing.T) *story {
	l := newLedger()
	s := &story{
		t: t, alicePos: 50,
		alice: newDevice("alice", "phone", []string{"bob"}, 100, l, 1), aliceToo: newDevice("alice", "laptop", []string{"bob"}, 100, l, 2),
		bob: newDevice("bob", "phone", []string{"alice"}, 100, l, 3), bobToo: newDevice("bob", "laptop", []string{"alice"}, 100, l, 4),
	}
	s.w = &world{crowd: crowd{ledger: l, devices: []*device{s.alice, s.aliceToo, s.bob, s.bobToo}}}
	s.connect(s.alice, s.alicePos)
	s.connect(s.aliceToo, s.alicePos)
	s.connect(s.bob, first-1)
	s.connect(s.bobToo, first-1)
	return s
}

// say gives a device a packet, as bytes of the wire.
func (s *story) say(d *device, elements ...any) {
	s.t.Helper()
	packets, err := decode(encode(elements...))
	if err != nil || len(packets) != 1 {
		s.t.Fatalf("%v: %v", elements, err)
	}
	d.packet(packets[0])
}

// connect begins a session, which the server begins at a position.
func (s *story) connect(d *device, resume uint64) {
	s.t.Helper()
	d.renumber()
	s.say(d, typeWelcome, 1, 0, []byte{1, 2, 3, 4, 5, 6}, d.user, resume, 0)
}

// attempt lets alice send so many, and promise accepts all that is under way.
func (s *story) attempt(n int) {
	s.alice.sending, s.alice.window = true, s.alice.inflight+n
	s.alice.pump()
	s.alice.sending = false
	s.sent = slices.Clone(s.alice.outbox)
}

func (s *story) promise() {
	s.t.Helper()
	n := len(s.sent)
	s.say(s.alice, typeAccepted, n, n, first+uint64(n)-1)
}

// message sends bob's device the i-th message at a position, gap after the one before.
func (s *story) message(d *device, i int, pos, gap uint64) {
	s.t.Helper()
	m := s.sent[i]
	s.say(d, typeMessage, pos, gap, m.id[:], m.from, 0, 0, []byte(m.content()))
}

// all sends a device of bob's everything there is, and says so.
func (s *story) all(d *device) {
	s.t.Helper()
	for i := range s.sent {
		s.message(d, i, first+uint64(i), 1)
	}
	s.say(d, typeCaughtUp, first+uint64(len(s.sent))-1)
}

// copy sends alice's other device a copy of the i-th message.
func (s *story) copy(i int, pos uint64) {
	s.t.Helper()
	m := s.sent[i]
	s.say(s.aliceToo, typeCopy, pos, pos-s.aliceToo.mine, m.id[:], m.to, 0, 0, []byte(m.content()))
}

// copies sends alice's devices a copy of each, the sending one without content.
func (s *story) copies() {
	s.t.Helper()
	for i, m := range s.sent {
		s.alicePos++
		s.copy(i, s.alicePos)
		s.say(s.alice, typeCopy, s.alicePos, 1, m.id[:], m.to, 0, 0, nil)
	}
}

// mark lets a device of bob's mark, of which alice learns.
func (s *story) mark(d *device) {
	s.t.Helper()
	d.persist()
	s.w.ledger.mark(d.user, d.mine)
	s.receipt(d.mine, 0)
}

func (s *story) receipt(delivered, read uint64) {
	s.t.Helper()
	s.alicePos++
	s.say(s.alice, typeReceipt, s.alicePos, s.alicePos-s.alice.mine, "bob", delivered, read)
	s.say(s.aliceToo, typeReceipt, 0, 0, "bob", delivered, read) // in catch-up
}

// good is what a server does that holds its promises, for three messages.
func (s *story) good() {
	s.t.Helper()
	s.attempt(3)
	s.promise()
	s.all(s.bob)
	s.all(s.bobToo)
	s.mark(s.bob)
}

func (s *story) kinds() []string {
	found := map[string]bool{}
	for _, f := range s.w.ledger.faults {
		kind, _, _ := strings.Cut(f, ":")
		found[kind] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// Nothing of this is a fault: retries after the server was killed, what it had
// refused, and a device that crashed and is sent again what it had not persisted.
func TestPromisesHeldAreNoFaults(t *testing.T) {
	s := newStory(t)
	s.attempt(4)
	s.say(s.alice, typeRefused, 3, 1, 100, "the log is full")
	s.alice.holdTill = time.Time{}

	s.connect(s.alice, s.alicePos) // the server was killed before it said accepted
	s.attempt(4)
	s.promise()
	s.say(s.alice, typeOutcome, s.sent[0].id[:], "bob", 0, first)
	s.copies()

	s.message(s.bob, 0, 101, 1)
	s.bob.persist()
	s.message(s.bob, 1, 102, 1)
	s.bob.crash()
	s.connect(s.bob, 101)
	s.message(s.bob, 1, 102, 1)
	s.message(s.bob, 2, 103, 1)
	s.message(s.bob, 3, 104, 1)
	s.say(s.bob, typeCaughtUp, 104)
	s.all(s.bobToo)
	s.mark(s.bob)
	s.receipt(104, 103)
	s.say(s.alice, typeReceipt, 0, 0, "bob", 104, 103) // catch-up says it again
	s.w.judge()

	l := s.w.ledger
	if len(l.faults) != 0 {
		t.Errorf("faults where there are none: %q", l.faults)
	}
	if l.accepted != 4 || l.retried != 4 || l.again != 1 || l.caughtUps != 2 || l.delivered != 8+5+4 {
		t.Errorf("accepted %d, retried %d, again %d, caught up %d, delivered %d", l.accepted, l.retried, l.again, l.caughtUps, l.delivered)
	}
}

// Each of these breaks one promise, in a story that holds all others.
func TestEachFaultIsFound(t *testing.T) {
	for _, c := range []struct {
		what string
		tell func(s *story)
		kind string
	}{
		{"a message that was accepted and never comes", func(s *story) {
			s.attempt(3)
			s.promise()
			s.message(s.bob, 0, 101, 1)
			s.message(s.bob, 2, 103, 2) // whose gap hides it
			s.all(s.bobToo)
			s.mark(s.bob)
			s.copies()
		}, "lost"},
		{"one of two devices gets nothing", func(s *story) {
			s.attempt(3)
			s.promise()
			s.all(s.bob)
			s.mark(s.bob)
			s.copies()
		}, "lost"},
		{"a copy that never comes to the other device", func(s *story) {
			s.good()
			s.sent = s.sent[1:]
			s.copies()
		}, "lost"},
		{"one copy that never comes to the device that sent", func(s *story) {
			s.good()
			for i := range s.sent {
				s.copy(i, 61+uint64(i))
			}
		}, "lost"},
		{"a receipt that the other device never gets", func(s *story) {
			s.attempt(1)
			s.promise()
			s.all(s.bob)
			s.all(s.bobToo)
			s.copies()
			s.say(s.alice, typeReceipt, 0, 0, "bob", 0, 0)
			s.w.ledger.mark("bob", 101)
			s.say(s.alice, typeReceipt, 0, 0, "bob", 101, 0)
		}, "lost"},
		{"a receipt that never comes", func(s *story) {
			s.attempt(3)
			s.promise()
			s.all(s.bob)
			s.all(s.bobToo)
			s.w.ledger.mark("bob", 103)
			s.receipt(102, 0)
			s.copies()
		}, "lost"},
		{"a message that nobody sent", func(s *story) {
			s.good()
			s.say(s.bob, typeMessage, 104, 1, make([]byte, 16), "alice", 0, 0, []byte("?"))
		}, "unexpected"},
		{"an id with another body", func(s *story) {
			s.attempt(1)
			s.promise()
			s.say(s.bob, typeMessage, 101, 1, s.sent[0].id[:], "alice", 0, 0, []byte("not what was sent"))
			s.all(s.bobToo)
			s.w.ledger.mark("bob", 101)
			s.receipt(101, 0)
		}, "unexpected"},
		{"a message in another's name", func(s *story) {
			s.attempt(1)
			s.promise()
			s.say(s.bob, typeMessage, 101, 1, s.sent[0].id[:], "mallory", 0, 0, []byte(s.sent[0].content()))
			s.all(s.bobToo)
			s.w.ledger.mark("bob", 101)
			s.receipt(101, 0)
		}, "unexpected"},
		{"an outcome of what nobody sent", func(s *story) {
			s.good()
			s.say(s.alice, typeOutcome, make([]byte, 16), "bob", 0, 101)
		}, "unexpected"},
		{"a message twice on the wire, at its position", func(s *story) {
			s.good()
			s.message(s.bob, 2, 103, 1)
		}, "unique"},
		{"a message twice on the wire, at another position", func(s *story) {
			s.good()
			s.message(s.bob, 2, 104, 1)
		}, "unique"},
		{"a copy twice on the wire", func(s *story) {
			s.good()
			s.copy(0, 60)
			s.copy(0, 61)
		}, "unique"},
		{"a message at one place for one device and at another for the other", func(s *story) {
			s.attempt(1)
			s.message(s.bob, 0, 101, 1)
			s.message(s.bobToo, 0, 102, 2)
		}, "unique"},
		{"a message elsewhere than it was accepted", func(s *story) {
			s.attempt(1)
			s.promise()
			s.message(s.bob, 0, 102, 2)
			s.message(s.bobToo, 0, 102, 2)
			s.mark(s.bob)
		}, "unique"},
		{"an outcome that says another place than accepted did", func(s *story) {
			s.good()
			s.say(s.alice, typeOutcome, s.sent[0].id[:], "bob", 0, 102)
		}, "unique"},
		{"messages out of order", func(s *story) {
			s.attempt(2)
			s.message(s.bob, 1, 101, 1)
			s.message(s.bob, 0, 102, 1)
		}, "ordered"},
		{"copies out of order", func(s *story) {
			s.good()
			s.copy(1, 60)
			s.copy(0, 61)
		}, "ordered"},
		{"a link behind a gap", func(s *story) {
			s.attempt(2)
			s.message(s.bob, 0, 101, 1)
			s.message(s.bob, 1, 103, 1)
		}, "resumable"},
		{"a gap larger than the position", func(s *story) {
			s.attempt(1)
			s.message(s.bob, 0, 101, 102)
		}, "resumable"},
		{"a resume from elsewhere", func(s *story) {
			s.good()
			s.connect(s.bob, 102)
		}, "resumable"},
		{"caught up, and something is missing", func(s *story) {
			s.attempt(3)
			s.promise()
			s.message(s.bob, 0, 101, 1)
			s.say(s.bob, typeCaughtUp, 103)
		}, "bookmarks"},
		{"caught up without what the other device was sent, whose sender was told nothing yet", func(s *story) {
			s.attempt(1)
			s.connect(s.alice, s.alicePos)
			s.attempt(1) // a retry: the place that its sender is told may be a later one
			s.promise()
			s.all(s.bobToo)
			s.say(s.bob, typeCaughtUp, 101)
		}, "bookmarks"},
		{"caught up without a copy that the sending device has", func(s *story) {
			s.good()
			s.say(s.alice, typeCopy, 60, 60-s.alice.mine, s.sent[0].id[:], "bob", 0, 0, nil)
			s.say(s.aliceToo, typeCaughtUp, 60)
		}, "bookmarks"},
		{"a copy at one place for one device and at another for the other", func(s *story) {
			s.good()
			s.copy(0, 71)
			s.say(s.alice, typeCopy, 72, 72-s.alice.mine, s.sent[0].id[:], "bob", 0, 0, nil)
		}, "unique"},
		{"caught up to what is behind", func(s *story) {
			s.good()
			s.say(s.bob, typeCaughtUp, 102)
		}, "bookmarks"},
		{"a receipt that goes backwards", func(s *story) {
			s.good()
			s.receipt(102, 0)
			s.receipt(103, 0)
		}, "monotonic"},
		{"read goes backwards", func(s *story) {
			s.good()
			s.receipt(103, 103)
			s.receipt(103, 102)
		}, "monotonic"},
		{"read before delivered", func(s *story) {
			s.good()
			s.receipt(103, 104)
		}, "monotonic"},
		{"delivered before it was marked", func(s *story) {
			s.good()
			s.receipt(104, 0)
		}, "monotonic"},
		{"an accepted send that was not under way", func(s *story) {
			s.good()
			s.say(s.alice, typeAccepted, 4, 1, 104)
		}, "alice/phone"},
		{"a send refused for good", func(s *story) {
			s.attempt(1)
			s.say(s.alice, typeRefused, 1, 9, 0, "no")
		}, "alice/phone"},
		{"a send refused for now, without a time to come back at", func(s *story) {
			s.attempt(1)
			s.say(s.alice, typeRefused, 1, 1, 0, "full")
		}, "alice/phone"},
		{"an outcome that is a conflict", func(s *story) {
			s.good()
			s.say(s.alice, typeOutcome, s.sent[0].id[:], "bob", 8, 101)
		}, "alice/phone"},
		{"truncated, though nothing is old", func(s *story) { s.say(s.bob, typeTruncated, 100) }, "bob/phone"},
		{"bye", func(s *story) { s.say(s.bob, typeBye, 200, 0, "", "why") }, "bob/phone"},
		{"an error", func(s *story) { s.say(s.bob, typeError, 100, 0, "why", 0) }, "bob/phone"},
	} {
		s := newStory(t)
		c.tell(s)
		if c.kind == "lost" {
			if len(s.w.ledger.faults) > 0 {
				t.Errorf("%s: faults before the end: %q", c.what, s.w.ledger.faults)
			}
			s.w.judge()
		}
		if kinds := s.kinds(); !slices.Equal(kinds, []string{c.kind}) {
			t.Errorf("%s: found %q, want %s alone: %q", c.what, kinds, c.kind, s.w.ledger.faults)
		}
	}
}

// A checker that shared code with the server would share its faults.
func TestNothingIsSharedWithTheServer(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if strings.Contains(i.Path.Value, "rookery") {
				t.Errorf("%s imports %s", name, i.Path.Value)
			}
		}
	}
}
