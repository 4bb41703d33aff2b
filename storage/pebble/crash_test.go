package pebble

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// The crash tests apply numbered batches of two partitions by turns. Batch n
// has a cursor that says n, so that a store tells how many it has.
const (
	crashPartitions = 2
	batchRows       = 8
)

func numbered(n int) *storage.Batch {
	b := &storage.Batch{Partition: n % crashPartitions}
	user := chat.User(fmt.Sprintf("user%d", b.Partition))
	for i := range batchRows {
		pos := chat.Position(n*batchRows + i)
		m := testMessage(chat.User(fmt.Sprintf("peer%d", i%3)), user, pos)
		if i == 0 {
			m.Expires = m.At + 1000
		}
		b.Messages = append(b.Messages, m)
		b.Inbox = append(b.Inbox, chat.Entry{Kind: chat.EntryMessage, User: user, Pos: pos, Message: m})
	}
	last := chat.Position(n*batchRows + batchRows - 1)
	b.Receipts = []storage.ReceiptAt{{Receipt: chat.Receipt{User: user, Peer: "peer0", Delivered: last}, Pos: last}}
	b.Cursors = []storage.UserCursor{{User: "count", Cursor: storage.Cursor{Device: "d", Position: chat.Position(n)}}}
	b.Mark = storage.Mark{Log: [16]byte{1}, Position: last}
	return b
}

// survivors returns how many batches a store has, and fails where it has part
// of one, or a mark of another than its partition's last.
func survivors(s *Store) (int, error) {
	ctx := context.Background()
	count, err := s.Delivered(ctx, "count")
	if err != nil {
		return 0, err
	}
	n := int(count)
	var marks [crashPartitions]chat.Position
	for i := range n {
		b := numbered(i + 1)
		marks[b.Partition] = b.Mark.Position
		if i%16 != 0 && i != n-1 { // onlyRows counts the others
			continue
		}
		for j := range b.Messages {
			want := &b.Messages[j]
			m, found, err := s.Message(ctx, want.Chat(), want.ID, 0)
			if err != nil || !found || !bytes.Equal(m.Content, want.Content) {
				return n, fmt.Errorf("of %d batches, message %d of %d is %v, %v", n, j, i+1, found, err)
			}
		}
	}
	for p, pos := range marks {
		m, err := s.Mark(ctx, p)
		if err != nil || m.Position != pos {
			return n, fmt.Errorf("of %d batches, the mark of %d is %d instead of %d, %v", n, p, m.Position, pos, err)
		}
	}
	return n, onlyRows(s, n)
}

// onlyRows fails where the store has a row of another batch than the first n.
func onlyRows(s *Store, n int) error {
	rows := map[byte]int{}
	err := s.scan(context.Background(), []byte{0}, []byte{255}, func(key, row []byte) (bool, error) {
		if key[0] != tableStretch {
			rows[key[0]]++
			return true, nil
		}
		p, err := partsOf(row)
		for err == nil && len(p.rest) > 0 {
			_, _, err = p.entry(positionOf(key))
			rows[tableInbox]++
		}
		return err == nil, err
	})
	want := map[byte]int{tableMessage: n * batchRows, tableInbox: n * batchRows, tableExpiry: n}
	for table, w := range want {
		if err == nil && rows[table] != w {
			err = fmt.Errorf("%d batches have %d rows in table %c, not %d", n, rows[table], table, w)
		}
	}
	return err
}

func openMem(fs vfs.FS) (*Store, error) {
	return Open(Options{Dir: "db", MemtableBytes: minMemtableBytes, Logger: quiet(), FS: fs})
}

// recovered opens what a power cut left, and returns how many batches it has.
func recovered(fs vfs.FS) (int, error) {
	s, err := openMem(fs)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	return survivors(s)
}

// cutter cuts the power before some of the writes to disk, and between
// batches: it takes a clone of what would be left, writes that were not synced
// dropped or torn, and checks the store that opens from it.
type cutter struct {
	t     *testing.T
	disk  *vfs.MemFS
	rnd   *rand.Rand
	every int32

	on     atomic.Bool
	ops    atomic.Int32
	synced atomic.Int64 // batches that Sync has returned for
	begun  atomic.Int64 // batches whose Apply has begun
	cuts   atomic.Int32
	lost   atomic.Int32 // cuts that took batches away
}

func (c *cutter) String() string { return "cutter" }

func (c *cutter) MaybeError(op errorfs.Op) error {
	if !c.on.Load() || op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	if n := c.ops.Add(1); n%c.every == 0 {
		c.cut(n, op.Path)
	}
	return nil
}

// cut checks what a power cut now would leave.
func (c *cutter) cut(n int32, where string) {
	synced := int(c.synced.Load())
	left := c.disk.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: int(n) % 101, RNG: rand.New(rand.NewPCG(uint64(n), 3)),
	})
	begun := int(c.begun.Load())
	got, err := recovered(left)
	if err != nil || got < synced || got > begun {
		c.t.Errorf("power cut at write %d (%s): %d batches are left, %d were synced, %d begun: %v", n, where, got, synced, begun, err)
	}
	c.cuts.Add(1)
	if got < begun-1 {
		c.lost.Add(1)
	}
}

// TestPowerCut cuts the power at write boundaries all through a run with syncs,
// flushes and compactions. What is left is always the first n batches, with
// their marks, and all that were synced.
func TestPowerCut(t *testing.T) {
	disk := vfs.NewCrashableMem()
	c := &cutter{t: t, disk: disk, rnd: rand.New(rand.NewPCG(1, 1)), every: 3}
	if testing.Short() {
		c.every = 30
	}
	s, err := openMem(errorfs.Wrap(disk, c))
	if err != nil {
		t.Fatal(err)
	}
	c.on.Store(true)
	for n := 1; n <= 600; n++ {
		c.begun.Store(int64(n))
		if err := s.Apply(context.Background(), numbered(n)); err != nil {
			t.Fatal(err)
		}
		switch c.rnd.IntN(100) {
		case 2, 3, 4:
			c.cut(int32(n), "between batches")
		case 0:
			if err := s.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
			c.synced.Store(int64(n))
		case 1:
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.on.Store(false)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d cuts at %d writes, %d of them lost batches", c.cuts.Load(), c.ops.Load(), c.lost.Load())
	if c.cuts.Load() < 5 || c.lost.Load() == 0 {
		t.Fatal("the cuts test nothing")
	}
	if n, err := recovered(disk.CrashClone(vfs.CrashCloneCfg{})); err != nil || n != 600 {
		t.Fatalf("%d batches are left after Close: %v", n, err)
	}
}

// TestReplay cuts the power again and again, each time in the life that the
// last one left, and applies what came after the marks: in the end every byte
// is what a store has that lived through.
func TestReplay(t *testing.T) {
	const batches = 120
	want := openFS(t, vfs.NewMem())
	for n := 1; n <= batches; n++ {
		mustApply(t, want, numbered(n))
	}
	seeds := uint64(10)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		rnd := rand.New(rand.NewPCG(seed, 7))
		disk := vfs.NewCrashableMem()
		s, done := openFS(t, disk), 0
		for done < batches {
			n := min(batches, done+1+rnd.IntN(60))
			for i := done + 1; i <= n; i++ {
				mustApply(t, s, numbered(i))
				if rnd.IntN(20) == 0 && s.Sync(t.Context()) != nil {
					t.Fatal("no sync")
				}
			}
			if done = n; n == batches {
				break
			}
			disk = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rnd.IntN(101), RNG: rnd})
			s.Close()
			s = openFS(t, disk)
			// A mark may lag behind its rows: go back to before it.
			count, err := s.Delivered(t.Context(), "count")
			if err != nil {
				t.Fatal(err)
			}
			done = max(0, int(count)-rnd.IntN(5))
		}
		if got, want := dump(t, s), dump(t, want); got != want {
			t.Fatalf("seed %d: after crashes and replays the rows are\n%s\nnot\n%s", seed, got, want)
		}
	}
}

// TestPutDeviceIsDurable: it is there after a power cut, with nothing else
// synced.
func TestPutDeviceIsDurable(t *testing.T) {
	disk := vfs.NewCrashableMem()
	s := openFS(t, disk)
	mustApply(t, s, numbered(1))
	if err := s.PutDevice(t.Context(), "alice", storage.Device{Name: "phone", Seq: 5}); err != nil {
		t.Fatal(err)
	}
	s = openFS(t, disk.CrashClone(vfs.CrashCloneCfg{}))
	ds, err := s.Devices(t.Context(), "alice")
	if err != nil || len(ds) != 1 || ds[0].Seq != 5 {
		t.Fatalf("devices after a power cut: %v, %v", ds, err)
	}
}

// TestHiddenStaysHidden: what a sweep has hidden from reads does not come back
// with the power, though the rows themselves may.
func TestHiddenStaysHidden(t *testing.T) {
	disk := vfs.NewCrashableMem()
	s := openFS(t, disk)
	mustApply(t, s, numbered(1))
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	const before = testStart + 1000
	if _, err := s.Sweep(t.Context(), before, 0, before); err != nil {
		t.Fatal(err)
	}
	s = openFS(t, disk.CrashClone(vfs.CrashCloneCfg{}))
	if got := s.keptFrom.Load(); got != before {
		t.Errorf("after a power cut messages are hidden from before %d, want %d", got, int64(before))
	}
}

// TestApplyIsNotSynced: Apply waits for no disk, which is what makes it cheap.
func TestApplyIsNotSynced(t *testing.T) {
	disk := vfs.NewCrashableMem()
	s := openFS(t, disk)
	mustApply(t, s, numbered(1))
	if n, err := recovered(disk.CrashClone(vfs.CrashCloneCfg{})); err != nil || n != 0 {
		t.Fatalf("%d batches are left: %v", n, err)
	}
}

func dump(t *testing.T, s *Store) string {
	t.Helper()
	var out bytes.Buffer
	err := s.scan(t.Context(), []byte{0}, []byte{255}, func(key, row []byte) (bool, error) {
		fmt.Fprintf(&out, "%q: %q\n", key, row)
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

var _ pebble.Logger = logger{}
