package pebble

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

func TestValidate(t *testing.T) {
	if err := (Options{Dir: "x"}).Validate(); err != nil {
		t.Fatal(err)
	}
	bad := Options{CacheBytes: minCacheBytes - 1, MemtableBytes: maxMemtableBytes + 1, Compactions: -1}
	err := bad.Validate()
	for _, field := range []string{"Dir", "CacheBytes", "MemtableBytes", "Compactions"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not among the faults: %v", field, err)
		}
	}
	if _, err := Open(bad); err == nil {
		t.Error("a store opened with bad options")
	}
	if (Options{Dir: "x", MemtableBytes: minMemtableBytes - 1, Compactions: maxCompactions + 1}).Validate() == nil {
		t.Error("the other ends are no faults")
	}
}

// TestOpenTwice: a folder has one store at a time.
func TestOpenTwice(t *testing.T) {
	o := Options{Dir: t.TempDir(), Logger: quiet()}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), o.Dir) {
		t.Fatalf("opened twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(o); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st != (Stats{}) {
		t.Fatalf("a closed store has %+v", st)
	}
}

// TestCloseIsDurable: Close syncs what was applied.
func TestCloseIsDurable(t *testing.T) {
	disk := vfs.NewCrashableMem()
	s := openFS(t, disk)
	mustApply(t, s, numbered(1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := recovered(disk.CrashClone(vfs.CrashCloneCfg{})); err != nil || n != 1 {
		t.Fatalf("%d batches are left: %v", n, err)
	}
}

func TestStats(t *testing.T) {
	s := openFS(t, vfs.NewMem())
	for n := 1; n <= 50; n++ {
		mustApply(t, s, numbered(n))
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, _, err := s.Inbox(t.Context(), "user0", 0, 1000, 100, 0, nil); err != nil {
			t.Fatal(err)
		}
	}
	st := s.Stats()
	if st.DiskBytes == 0 || st.MemtableBytes == 0 || st.FlushesTotal == 0 || st.LogBytesTotal == 0 ||
		st.CacheBytes == 0 || st.CacheHitsTotal == 0 || st.L0Sublevels == 0 || st.ReadAmplification == 0 || st.ChatRowsTotal == 0 {
		t.Fatalf("%+v", st)
	}
}

// gate is a disk on which no table can be made while it is shut.
type gate struct {
	mu   sync.Mutex
	shut bool
	open sync.Cond
}

func (g *gate) String() string { return "gate" }

func (g *gate) MaybeError(op errorfs.Op) error {
	if op.Kind != errorfs.OpCreate || !strings.HasSuffix(op.Path, ".sst") {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.shut {
		g.open.Wait()
	}
	return nil
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	g.open.Broadcast()
}

// wordLog calls said when a line of the log has a word in it.
type wordLog struct {
	mu   sync.Mutex
	word string
	said func()
}

func (w *wordLog) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if bytes.Contains(line, []byte(w.word)) {
		w.said()
	}
	return len(line), nil
}

// TestStall: a disk that takes no tables stalls Apply, which the store tells
// while it lasts; then everything goes on.
func TestStall(t *testing.T) {
	g := &gate{}
	g.open.L = &g.mu
	stalled := make(chan struct{})
	var once sync.Once
	log := slog.New(slog.NewTextHandler(&wordLog{word: "stall", said: func() { once.Do(func() { close(stalled) }) }}, nil))
	s, err := Open(Options{Dir: "db", MemtableBytes: minMemtableBytes, Logger: log, FS: errorfs.Wrap(vfs.NewMem(), g)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	g.set(true)
	var seen Stats
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-stalled
		seen.Stalled = s.Stalled()
		seen.StallsTotal = s.watch.stalls.Load()
		g.set(false)
	}()
	big := testMessage("alice", "bob", 1)
	big.Content = make([]byte, 64<<10)
	n := chat.Position(0)
	for ; ; n++ {
		big.Place = n + 1
		mustApply(t, s, &storage.Batch{Messages: []chat.Message{big}, Mark: storage.Mark{Position: n + 1}})
		select {
		case <-done:
		default:
			continue
		}
		break
	}
	if !seen.Stalled || seen.StallsTotal == 0 {
		t.Fatalf("when writes stalled, the store said %+v", seen)
	}
	if st := s.Stats(); st.Stalled || st.StallTimeTotal <= 0 {
		t.Fatalf("after the stall: %+v", st)
	}
	m, _, err := s.Message(t.Context(), big.Chat(), big.ID, 0)
	if err != nil || m.Place != n+1 {
		t.Fatalf("the last message stored is %d, not %d: %v", m.Place, n+1, err)
	}
}

// TestWatch: what Pebble tells is counted and logged, at a level that fits.
func TestWatch(t *testing.T) {
	var out bytes.Buffer
	w := &watch{log: slog.New(slog.NewTextHandler(&out, nil))}
	l := w.listener()
	w.diskSlow(vfs.DiskSlowInfo{Path: "slow.log", Duration: time.Second})
	l.BackgroundError(errors.New("no space"))
	l.DataCorruption(pebble.DataCorruptionInfo{Path: "7.sst", Details: errors.New("checksum")})
	l.LowDiskSpace(pebble.LowDiskSpaceInfo{AvailBytes: 5})
	logger{w.log}.Errorf("odd %d", 6)
	logger{w.log}.Infof("nobody needs to know")
	if w.slow.Load() != 1 || w.errors.Load() != 1 {
		t.Errorf("%d slow, %d errors", w.slow.Load(), w.errors.Load())
	}
	for _, want := range []string{"slow.log", "no space", "7.sst", "available_bytes=5", "odd 6"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "nobody") {
		t.Error("what Pebble says of its own work is above debug")
	}
}

// TestApplyAllocs: a batch costs a few allocations, which its messages add
// nothing to. The bound leaves room for pools that the race detector empties.
func TestApplyAllocs(t *testing.T) {
	s, err := Open(Options{Dir: t.TempDir(), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const messages = 256
	b := &storage.Batch{Mark: storage.Mark{Position: 1}}
	for i := range messages {
		m := testMessage("alice", "bob", chat.Position(i+1))
		b.Messages = append(b.Messages, m)
		b.Inbox = append(b.Inbox, chat.Entry{Kind: chat.EntryMessage, User: m.To, Pos: m.Place, Message: m})
		b.Receipts = append(b.Receipts, storage.ReceiptAt{Receipt: chat.Receipt{User: "bob", Peer: "alice"}})
	}
	ctx := context.Background()
	perBatch := testing.AllocsPerRun(50, func() {
		if err := s.Apply(ctx, b); err != nil {
			t.Fatal(err)
		}
	})
	if perBatch > messages/8 {
		t.Errorf("%.0f allocations for a batch of %d messages", perBatch, messages)
	}
}
