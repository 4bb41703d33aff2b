package pebble

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

func benchStore(b *testing.B, o Options) *Store {
	b.Helper()
	o.Dir = b.TempDir()
	o.Logger = slog.New(slog.DiscardHandler)
	s, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// processorTime is what this process has used of the processors.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// load makes batches of 100-byte messages between the users of some chats,
// drawn at random.
type load struct {
	users   []chat.User
	content []byte
	rnd     *rand.Rand
	next    chat.Position
	batch   storage.Batch
}

func newLoad(chats int) *load {
	l := &load{rnd: rand.New(rand.NewPCG(1, 2)), content: make([]byte, 100)}
	for i := range l.content {
		l.content[i] = byte(l.rnd.Uint32()) // as if encrypted
	}
	for i := range chats + 1 {
		l.users = append(l.users, chat.User(fmt.Sprintf("user%07d", i)))
	}
	return l
}

func (l *load) fill(n int) *storage.Batch {
	l.batch.Reset()
	for range n {
		l.next++
		i := l.rnd.IntN(len(l.users) - 1)
		ms := int64(1_750_000_000_000) + int64(l.next)/1000
		m := chat.Message{
			ID:   chat.NewID(uint64(ms)*10_000+0x01b21dd213814000+uint64(l.next)%10_000, 7, chat.Node{1, byte(i)}),
			From: l.users[i], To: l.users[i+1], Place: l.next, At: ms, Suite: 1, Content: l.content,
		}
		l.batch.Messages = append(l.batch.Messages, m)
		l.batch.Inbox = append(l.batch.Inbox, chat.Entry{Kind: chat.EntryMessage, User: m.To, Pos: m.Place, Message: m})
	}
	l.batch.Mark = storage.Mark{Log: [16]byte{1}, Position: l.next}
	return &l.batch
}

// BenchmarkApply stores messages with their inbox rows. An operation is one
// message. The clock stops when memtables are flushed; cpu-ns/msg has all
// compactions that follow from it too.
func BenchmarkApply(b *testing.B) {
	for _, chats := range []int{1, 1000, 100_000} {
		for _, size := range []int{256, 1024} {
			b.Run(fmt.Sprintf("chats=%d/batch=%d", chats, size), func(b *testing.B) {
				s, l := benchStore(b, Options{}), newLoad(chats)
				var worst time.Duration
				b.ReportAllocs()
				cpu := processorTime()
				b.ResetTimer()
				for n := 0; n < b.N; n += size {
					b.StopTimer()
					batch := l.fill(min(size, b.N-n))
					b.StartTimer()
					start := time.Now()
					if err := s.Apply(context.Background(), batch); err != nil {
						b.Fatal(err)
					}
					worst = max(worst, time.Since(start))
				}
				if err := s.db.Flush(); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				settle(s)
				b.ReportMetric(float64(processorTime()-cpu)/float64(b.N), "cpu-ns/msg")
				b.ReportMetric(float64(s.Stats().DiskBytes)/float64(b.N), "disk-B/msg")
				b.ReportMetric(float64(worst.Milliseconds()), "worst-ms")
			})
		}
	}
}

// settle waits until no compaction runs or is due.
func settle(s *Store) {
	for idle := 0; idle < 5; idle++ {
		if m := s.db.Metrics(); m.Compact.NumInProgress > 0 || m.Flush.NumInProgress > 0 {
			idle = 0
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// BenchmarkInbox catches up: an operation is 256 entries of an inbox of
// 200,000, from one chat or from many, from anywhere in the newest part of it.
// What is not in the newest 20,000 has to come from the files.
func BenchmarkInbox(b *testing.B) {
	for _, c := range []struct{ chats, newest int }{{1, 20_000}, {100, 20_000}, {100_000, 20_000}, {100_000, 200_000}} {
		b.Run(fmt.Sprintf("chats=%d/newest=%d", c.chats, c.newest), func(b *testing.B) {
			s, user, end := inboxStore(b, c.chats)
			var dst []chat.Entry
			b.ReportAllocs()
			cpu := processorTime()
			b.ResetTimer()
			for b.Loop() {
				after := end - 256 - chat.Position(rand.IntN(c.newest-256))
				var err error
				if dst, _, err = s.Inbox(context.Background(), user, after, end, 256, 1, dst[:0]); err != nil || len(dst) != 256 {
					b.Fatal(len(dst), err)
				}
			}
			b.ReportMetric(float64((processorTime()-cpu).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

// inboxStore stores messages of many chats to one user.
func inboxStore(b *testing.B, chats int) (s *Store, user chat.User, end chat.Position) {
	const messages = 200_000
	s = benchStore(b, Options{})
	l := newLoad(chats)
	for n := 0; n < messages; n += 1000 {
		batch := l.fill(1000)
		for i := range batch.Messages {
			batch.Messages[i].To = "zoe"
			batch.Inbox[i].User, batch.Inbox[i].Message.To = "zoe", "zoe"
		}
		if err := s.Apply(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.db.Flush(); err != nil {
		b.Fatal(err)
	}
	settle(s)
	return s, "zoe", l.next
}

// BenchmarkHistory reads the last 50 of a chat, of 500,000 messages.
func BenchmarkHistory(b *testing.B) {
	for _, chats := range []int{1, 1000} {
		b.Run(fmt.Sprintf("chats=%d", chats), func(b *testing.B) {
			s, l := benchStore(b, Options{}), newLoad(chats)
			for range 500 {
				if err := s.Apply(context.Background(), l.fill(1000)); err != nil {
					b.Fatal(err)
				}
			}
			settle(s)
			var dst []chat.Message
			b.ReportAllocs()
			for b.Loop() {
				i := rand.IntN(chats)
				var err error
				dst, err = s.History(context.Background(), chat.DirectChat(l.users[i], l.users[i+1]), chat.ID{}, 50, 1, dst[:0])
				if err != nil || len(dst) != 50 {
					b.Fatal(len(dst), err)
				}
			}
		})
	}
}

// BenchmarkChats lists a user's 300 chats with 100 messages each.
func BenchmarkChats(b *testing.B) {
	s, l := benchStore(b, Options{}), newLoad(300)
	for range 30 {
		batch := l.fill(1000)
		for i := range batch.Messages {
			batch.Messages[i].To = "zoe"
		}
		if err := s.Apply(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if cs, err := s.Chats(context.Background(), "zoe", chat.ID{}, 50, 1, nil); err != nil || len(cs) != 50 {
			b.Fatal(len(cs), err)
		}
	}
}
