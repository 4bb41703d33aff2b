package shard

import (
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
)

// TestDedupMatrix sends a message twice in every way that there is.
func TestDedupMatrix(t *testing.T) {
	const retry = record.FlagRetry
	type again struct {
		name    string
		content string
		flags   uint8
		code    chat.Code
	}
	agains := []again{
		{"retry", "first", retry, chat.CodeOK},
		{"retry without the flag", "first", 0, chat.CodeOK},
		{"other bytes", "other", 0, chat.CodeIDConflict},
		{"other bytes as a retry", "other", retry, chat.CodeIDConflict},
	}
	places := []struct {
		name string
		do   func(s *sim)
	}{
		{"in the same batch", func(s *sim) {}},
		{"later", func(s *sim) { s.run() }},
		{"after newer ones", func(s *sim) { s.from("ann", 2000, "newer", 0); s.run() }},
		{"after a restart", func(s *sim) { s.run(); s.crash() }},
		{"forgotten", func(s *sim) { // the sender's newest made room for others'
			s.opt.BatchRecords = 3
			s.from("ann", 1500, "newer", 0)
			s.run()
			for n := range uint64(100) {
				s.from("s"+string(rune('a'+n%26))+string(rune('a'+n/26)), 10+n, "noise", 0)
			}
		}},
	}
	for _, a := range agains {
		for _, p := range places {
			t.Run(a.name+" "+p.name, func(t *testing.T) {
				s := newSim(t, 1, 1)
				s.opt.BatchRecords = 100
				first := s.from("ann", 1000, "first", record.FlagCopy)
				p.do(s)
				s.out = nil
				s.from("ann", 1000, a.content, a.flags|record.FlagCopy)
				s.run()
				want := Outcome{
					User: "ann", Device: "phone", ID: chat.NewID(1000, 1, s.ring.Node("ann", "phone")),
					To: "bob", Code: a.code, Place: first,
				}
				if len(s.out) != 1 || s.out[0] != want {
					t.Errorf("outcomes %v, want %v", s.out, want)
				}
				copies := 0
				for _, e := range s.store.rows.inbox["ann"] {
					if e.Message.ID == want.ID {
						copies++
					}
				}
				if copies != 1 {
					t.Errorf("%d copies", copies)
				}
				modelOf(t, s.log).check(t, nil, &s.store.rows)
				s.check()
			})
		}
	}
}

// TestNewestOfABatch forgets a sender in the middle of a batch: what the store
// knows of that sender then is not all there is.
func TestNewestOfABatch(t *testing.T) {
	s := newSim(t, 1, 1)
	s.opt.BatchRecords = 1000
	forget := func(from uint64) {
		for n := range uint64(100) {
			s.from("s"+string(rune('a'+n%26))+string(rune('a'+n/26)), from+n, "noise", 0)
		}
	}
	s.from("ann", 1000, "high", 0)
	forget(10)
	s.from("ann", 500, "low", 0) // a device that lies about its order
	s.start()
	w := s.workers[0]
	w.begin(s.log.next(0, 0, 1<<20))
	s.must(w.cycle(t.Context()))
	if w.left > 0 {
		t.Fatal("not one batch")
	}
	s.from("ann", 1000, "high", 0)
	w.begin(s.log.next(0, w.last, 1<<20))
	s.must(w.cycle(t.Context()))
	if len(s.out) != 1 || s.out[0].Place != 1 {
		t.Errorf("outcomes %v", s.out)
	}
}

func TestDedupAsksTheStoreOnlyWhenNeeded(t *testing.T) {
	s := newSim(t, 1, 1)
	lookUps := func(want uint64, what string) {
		t.Helper()
		s.run() // a new worker each time
		if n := s.workers[0].counts.LookUps; n != want {
			t.Errorf("%d look-ups for %s, want %d", n, what, want)
		}
	}
	for n := range uint64(50) {
		s.from("ann", 100+n, "m", 0)
	}
	s.from("cid", 50, "m", 0) // older than ann's, which says nothing about cid's
	lookUps(0, "new messages of two senders")
	s.from("ann", 100, "m", record.FlagRetry)
	s.from("ann", 500, "m", record.FlagRetry)
	lookUps(2, "2 retries")
	s.from("dee", 450, "m", 0)
	lookUps(1, "an id that an earlier run may have stored")
	s.from("dee", 501, "m", 0)
	s.from("eve", 502, "m", 0)
	s.from("dee", 503, "m", 0)
	lookUps(0, "ids above all that earlier runs have stored")
}

func TestRetryOfAStub(t *testing.T) {
	s := newSim(t, 1, 1)
	first := s.from("ann", 1, "gone", 0)
	s.run()
	for k, m := range s.store.rows.messages { // what a sweep leaves of an expired message
		m.Expires, m.Content = 1, nil
		s.store.rows.messages[k] = m
	}
	s.from("ann", 1, "gone", record.FlagRetry)
	s.run()
	if len(s.out) != 1 || s.out[0].Code != chat.CodeOK || s.out[0].Place != first {
		t.Errorf("outcomes %v", s.out)
	}
	if n := len(s.store.rows.inbox["bob"]); n != 1 {
		t.Errorf("%d in the inbox", n)
	}
}

func TestExpires(t *testing.T) {
	for _, c := range []struct {
		at   int64
		ttl  uint64
		want int64
	}{{1000, 0, 0}, {1000, 5, 1005}, {-5, 7, 7}, {1 << 62, 1 << 63, 0}} {
		got := expires(&record.Record{At: c.at, TTL: c.ttl})
		if c.want != 0 && got != c.want || got < 0 || c.ttl == 0 && got != 0 {
			t.Errorf("at %d with %d: %d", c.at, c.ttl, got)
		}
	}
}
