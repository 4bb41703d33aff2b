package client

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

var testNode = chat.Node{1, 2, 3, 4, 5, 6}

func testMessage(i int) (chat.ID, []byte) {
	m := packet.Send{ID: chat.NewID(uint64(1000+i), 7, testNode), To: []byte("bob"), Content: fmt.Appendf(nil, "message %d", i)}
	return m.ID, m.AppendTo(nil)
}

func mustOpen(t testing.TB, path string) *journal {
	t.Helper()
	j, err := openJournal(path, "alice", "phone")
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func mustSync(t testing.TB, j *journal) {
	t.Helper()
	if err := j.sync(j.appended.Load()); err != nil {
		t.Fatal(err)
	}
}

// sample writes one of every record in several commits and returns the states
// after each, with the size of the file then.
func sample(t testing.TB, path string) (sizes []int64, states []state) {
	j := mustOpen(t, path)
	defer j.close()
	commit := func() {
		mustSync(t, j)
		s := j.live
		s.outbox = append([]stored(nil), s.outbox...)
		sizes, states = append(sizes, j.size), append(states, s)
	}
	commit() // the file as it was made
	j.setNode(testNode, 3*time.Second)
	first, body := testMessage(1)
	j.put(first, body)
	commit()
	j.put(testMessage(2))
	j.put(testMessage(3))
	commit()
	j.drop(first)
	j.setCursor(42, 5000)
	commit()
	return sizes, states
}

// A crash may cut the file at any byte: what was committed before is there, and
// nothing of the torn commit. What was cut off does not come back later.
func TestStateFileCutAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "full")
	sizes, states := sample(t, path)
	whole, err := os.ReadFile(path)
	if err != nil || int64(len(whole)) != sizes[len(sizes)-1] {
		t.Fatalf("%d bytes, %v", len(whole), err)
	}
	for n := 0; n <= len(whole); n++ {
		at := -1
		for at+1 < len(sizes) && sizes[at+1] <= int64(n) {
			at++
		}
		s, used, err := decodeState(whole[:n])
		if at < 0 {
			if !errors.Is(err, errDamaged) {
				t.Fatalf("cut at %d, in its first commit: %v", n, err)
			}
			continue
		}
		if err != nil || int64(used) != sizes[at] {
			t.Fatalf("cut at %d: %d bytes used of commits of %v, %v", n, used, sizes, err)
		}
		sameState(t, s, states[at])
	}
}

func sameState(t *testing.T, got, want state) {
	t.Helper()
	if len(got.outbox) == 0 && len(want.outbox) == 0 {
		got.outbox, want.outbox = nil, nil
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("state %+v\nwant  %+v", got, want)
	}
}

func TestTornTailIsCutOffForGood(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	sizes, _ := sample(t, path)
	whole, _ := os.ReadFile(path)
	torn := append(whole[:sizes[2]:sizes[2]], whole[sizes[2]:len(whole)-1]...)
	if err := os.WriteFile(path, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	j := mustOpen(t, path)
	if len(j.initial.outbox) != 3 {
		t.Fatalf("outbox of %d", len(j.initial.outbox))
	}
	j.put(testMessage(4))
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	j = mustOpen(t, path)
	defer j.close()
	if len(j.initial.outbox) != 4 || j.initial.cursor != 0 {
		t.Fatalf("after the tear: %+v", j.initial)
	}
}

// What waits in an outbox is counted whoever has the file, and in whatever state it lies.
func TestUnsent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	want := func(n int) {
		t.Helper()
		if got, err := Unsent(path); got != n || err != nil {
			t.Fatalf("%d wait, not %d; %v", got, n, err)
		}
	}
	want(0) // there is none
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want(0) // only just made
	j := mustOpen(t, path)
	defer j.close()
	first, body := testMessage(1)
	j.put(first, body)
	want(0) // not durable, so it is not under way
	j.put(testMessage(2))
	mustSync(t, j)
	want(2)
	j.drop(first)
	mustSync(t, j)
	want(1)
	if err := os.WriteFile(path, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Unsent(path); !errors.Is(err, ErrState) || !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), path) {
		t.Fatalf("of another file: %v", err)
	}
}

// A flipped bit in the middle is damage, and is not taken for a torn tail: that
// would lose what follows without a word.
func TestDamageIsReported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	sizes, _ := sample(t, path)
	whole, _ := os.ReadFile(path)
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 0x10
		_, used, err := decodeState(bad)
		last := sizes[len(sizes)-2]
		if int64(i) < last && !errors.Is(err, errDamaged) {
			t.Fatalf("byte %d: %v", i, err)
		}
		if int64(i) >= last && (err != nil || int64(used) != last) {
			t.Fatalf("byte %d, in the last commit: %d used, %v", i, used, err)
		}
	}
	os.WriteFile(path, []byte("something else"), 0o600)
	if _, err := openJournal(path, "alice", "phone"); !errors.Is(err, errDamaged) {
		t.Fatalf("another file: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "something else" {
		t.Fatal("it was written over")
	}
}

func TestCompactionKeepsTheStateAndTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	j := mustOpen(t, path)
	j.setNode(testNode, 1)
	keep, body := testMessage(0)
	j.put(keep, body)
	big := make([]byte, 10_000)
	for i := range 3 * compactBytes / len(big) {
		m := packet.Send{ID: chat.NewID(uint64(5000+i), 7, testNode), To: []byte("bob"), Content: big}
		j.put(m.ID, m.AppendTo(nil))
		j.drop(m.ID)
		j.setCursor(chat.Position(i), 0)
		mustSync(t, j)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > 2*compactBytes {
		t.Fatalf("%d bytes, %v", info.Size(), err)
	}
	if _, err := openJournal(path, "alice", "phone"); err == nil {
		t.Fatal("the file made anew is not locked")
	}
	want := j.live
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	j = mustOpen(t, path)
	defer j.close()
	sameState(t, j.initial, want)
	if len(j.initial.outbox) != 1 || j.initial.outbox[0].id != keep {
		t.Fatalf("outbox %+v", j.initial.outbox)
	}
}

// What sync has said to be durable is in the file, however many call it.
func TestSyncIsShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	j := mustOpen(t, path)
	defer j.close()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if err := j.sync(j.put(testMessage(i))); err != nil {
				t.Error(err)
			}
			b, err := os.ReadFile(path)
			if id, _ := testMessage(i); err != nil || !bytes.Contains(b, id[:]) {
				t.Errorf("message %d is not in the file: %v", i, err)
			}
		})
	}
	wg.Wait()
}

// Nothing counts as durable before the file was synced with it, in a commit and
// in a file made anew.
func TestDurableIsAfterTheSync(t *testing.T) {
	j := mustOpen(t, filepath.Join(t.TempDir(), "state"))
	defer j.close()
	syncs := 0
	j.fsync = func(f *os.File) error {
		syncs++
		id, _ := testMessage(int(j.appended.Load()))
		b := make([]byte, 1<<16)
		if n, _ := f.ReadAt(b, 0); !bytes.Contains(b[:n], id[:]) {
			t.Error("synced without what was appended")
		}
		if j.synced.Load() >= j.appended.Load() {
			t.Error("durable before the sync")
		}
		return nil
	}
	for i := 1; i <= 3; i++ {
		if i == 3 {
			j.size = 100 * compactBytes
		}
		if err := j.sync(j.put(testMessage(i))); err != nil || syncs != i {
			t.Fatalf("%d syncs after %d commits, %v", syncs, i, err)
		}
	}
	j.fsync = func(*os.File) error { return errors.New("no more disk") }
	if err := j.sync(j.put(testMessage(4))); !errors.Is(err, ErrState) || j.synced.Load() != 3 {
		t.Fatalf("durable up to %d after a failed sync: %v", j.synced.Load(), err)
	}
}

func TestFailedWriteIsFinal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	j := mustOpen(t, path)
	j.file.Close()
	if err := j.sync(j.put(testMessage(1))); err == nil {
		t.Fatal("written to a closed file")
	}
	if err := j.sync(j.put(testMessage(2))); err == nil {
		t.Fatal("written after a failure")
	}
	if j.synced.Load() > 0 {
		t.Fatal("something counts as durable")
	}
	j.close()
}

func FuzzState(f *testing.F) {
	path := filepath.Join(f.TempDir(), "state")
	sample(f, path)
	whole, _ := os.ReadFile(path)
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	records, _ := nextCommit(whole)
	f.Add(records)
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(b []byte) {
			s, used, err := decodeState(b)
			if err != nil {
				return
			}
			if used > len(b) {
				t.Fatalf("%d bytes used of %d", used, len(b))
			}
			again, _, err := decodeState(appendCommit(nil, s.appendRecords(nil)))
			if err != nil {
				t.Fatalf("written again it is damaged: %v", err)
			}
			if len(again.outbox) != len(s.outbox) || again.cursor != s.cursor && s.hasCursor {
				t.Fatalf("read %+v, was %+v", again, s)
			}
		}
		check(b)
		check(appendCommit(nil, b)) // past the sum, where a fuzzer seldom gets
	})
}
