package shard

import (
	"context"
	"errors"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/pipeline"
	"github.com/rookery-chat/rookery/storage"
)

// from appends a message to bob and returns its position.
func (s *sim) from(sender string, n uint64, content string, flags uint8) chat.Position {
	id := chat.NewID(n, 1, s.ring.Node(chat.User(sender), "phone"))
	return s.log.put(s.ring.Partition([]byte("bob")), record.Append(nil, &record.Record{
		Kind: record.Message, Flags: flags, At: int64(n), User: []byte("bob"), Peer: []byte(sender), Device: []byte("phone"),
		ID: id, Content: []byte(content),
	}))
}

func TestResumeWithAnotherLog(t *testing.T) {
	s := newSim(t, 1, 1)
	s.from("ann", 1, "skipped", 0)
	s.store.rows.marks[0] = storage.Mark{Log: [16]byte{9}, Position: chat.NewPosition(3, 70), Owner: ""}
	if !s.run() {
		t.Fatal("crashed")
	}
	if n := len(s.store.rows.messages); n != 0 {
		t.Errorf("%d messages of the other log's positions are stored", n)
	}
	want := storage.Mark{Log: s.log.identity, Position: chat.NewPosition(4, 0)}
	if got := s.store.rows.marks[0]; got != want || s.store.synced == 0 {
		t.Errorf("mark is %+v, synced %d, want %+v", got, s.store.synced, want)
	}
	// The start of an epoch without a record is no reason for another one, but
	// the log has to be in it, even one that was put back from a copy.
	s.log.epoch = 0
	if s.run(); s.log.epoch != 4 {
		t.Errorf("epoch %d", s.log.epoch)
	}
	if pos := s.from("ann", 2, "taken", 0); pos != chat.NewPosition(4, 1) {
		t.Fatalf("appended at %v", pos)
	}
	s.run()
	if n := len(s.store.rows.messages); n != 1 {
		t.Errorf("%d messages stored", n)
	}
}

// TestResumeWithALongerLog has a store of another log that ended below this one.
func TestResumeWithALongerLog(t *testing.T) {
	s := newSim(t, 1, 1)
	for n := range uint64(5) {
		s.from("ann", n, "skipped", 0)
	}
	s.store.rows.marks[0] = storage.Mark{Log: [16]byte{9}, Position: 2}
	s.run()
	if n, mark := len(s.store.rows.messages), s.store.rows.marks[0]; n != 0 || mark.Position != chat.NewPosition(1, 0) || mark.Log != s.log.identity {
		t.Errorf("%d messages stored, mark %+v", n, mark)
	}
}

func TestResumeWithALogThatLostItsEnd(t *testing.T) {
	s := newSim(t, 1, 2)
	p := s.ring.Partition([]byte("bob"))
	for n := range uint64(5) {
		s.from("ann", n, "m", 0)
	}
	s.run()
	s.log.parts[p].records = s.log.parts[p].records[:3]
	s.run()
	if got, want := s.store.rows.marks[p].Position, chat.NewPosition(1, 0); got != want {
		t.Errorf("mark is %v, want %v", got, want)
	}
	if got := s.store.rows.marks[1-p].Position.Epoch(); got != 0 {
		t.Errorf("the other partition went to epoch %d", got)
	}
	s.from("ann", 100, "m", 0)
	s.run()
	s.check()
	if n := len(s.store.rows.messages); n != 6 {
		t.Errorf("%d messages", n)
	}
}

func TestResumeErrors(t *testing.T) {
	s := newSim(t, 1, 1)
	s.store.failing = 1
	if _, err := resume(context.Background(), s.opt.Logger, s.log, s.store, []int{0}); !errors.Is(err, errAway) {
		t.Errorf("error %v", err)
	}
	for _, owner := range []string{"123", "12345678", "123456781234567812345678"} {
		if _, err := newWorker(&s.opt, 0, storage.Mark{Owner: owner}, s.ring, s.log, s.store, s); err == nil {
			t.Errorf("a mark for other partitions (%d bytes) is taken", len(owner))
		}
	}
}

func TestFollows(t *testing.T) {
	at := chat.NewPosition
	for _, c := range []struct {
		after, first chat.Position
		count        int
		ok           bool
	}{
		{0, 1, 1, true}, {5, 6, 1, true}, {5, 256, 1, true}, {5, 5, 1, false}, {5, 6, 0, false},
		{5, at(1, 1), 1, true}, {at(2, 0), at(2, 1), 1, true}, {at(2, 9), at(1, 1), 1, false},
	} {
		err := follows(c.after, pipeline.Batch{First: c.first, Count: c.count})
		if (err == nil) != c.ok {
			t.Errorf("%v after %v: %v", c.first, c.after, err)
		}
	}
}
