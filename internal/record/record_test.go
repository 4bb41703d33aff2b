package record

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"

	"github.com/rookery-chat/rookery/chat"
)

var testID = chat.NewID(1<<56, 7, chat.Node{0x83, 1, 2, 3, 4, 5})

func samples() []Record {
	return []Record{
		{Kind: Message, Flags: FlagRetry | FlagCopy, Suite: 3, At: 1_700_000_000_000, User: []byte("bob"), Peer: []byte("acme/alice"),
			Device: []byte("phone"), ID: testID, TTL: 1000, Media: []byte("https://m.example/1"), Content: []byte("hi")},
		{Kind: Message, User: []byte("bob"), Peer: []byte("alice"), Device: []byte("d"), ID: testID, Content: bytes.Repeat([]byte("x"), 70_000)},
		{Kind: Copy, At: -1, User: []byte("alice"), Peer: []byte("bob"), Device: []byte("phone"), Place: math.MaxUint64, ID: testID, TTL: math.MaxUint64},
		{Kind: Mark, User: []byte("bob"), Device: []byte("phone"), Place: chat.NewPosition(2, 9)},
		{Kind: Read, User: []byte("bob"), Peer: []byte("alice"), Device: []byte("phone"), Place: 300},
		{Kind: Receipt, User: []byte("alice"), Peer: []byte("bob"), Place: 10, ReadTo: 9},
		{Kind: Fanout, At: 7, User: []byte("ann"), Peer: []byte(":AAAAAAAAAAAAAAAAAAAAAA"), Place: 11, ID: testID, Content: AppendName(AppendName(nil, []byte("ann")), []byte("bob"))},
		{Kind: Message},
		{Kind: Seal, At: 5, Place: chat.NewPosition(3, 0)},
		{Kind: Forward, User: []byte("bob"), Place: 300, Content: []byte("another record")},
	}
}

// same compares records with nil and empty slices alike.
func same(a, b Record) bool {
	for _, r := range []*Record{&a, &b} {
		for _, f := range []*[]byte{&r.User, &r.Peer, &r.Device, &r.Media, &r.Content} {
			*f = append([]byte{}, *f...)
		}
	}
	return reflect.DeepEqual(a, b)
}

func TestDecodeUndoesAppend(t *testing.T) {
	got := samples()[0] // what was there before does not matter
	for _, want := range samples() {
		b := Append([]byte("before"), &want)
		if !bytes.HasPrefix(b, []byte("before")) {
			t.Fatal("Append does not append")
		}
		if err := got.Decode(b[6:]); err != nil || !same(got, want) {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
		if err := got.Decode(append(b[6:], "of a later version"...)); err != nil || !same(got, want) {
			t.Errorf("with bytes after it: %+v, %v", got, err)
		}
	}
}

// The layout is what logs on disk hold: it does not change under a version.
func TestLayout(t *testing.T) {
	r := Record{Kind: Message, Flags: 1, Suite: 2, At: 0x0102030405060708, User: []byte("b"), Peer: []byte("al"), Device: []byte("d"),
		Place: 300, ReadTo: 5, ID: chat.ID{0xaa, 15: 0xbb}, TTL: 7, Media: []byte("m"), Content: []byte("hi")}
	want := []byte{1, 1, 1, 2, 8, 7, 6, 5, 4, 3, 2, 1, 1, 'b', 2, 'a', 'l', 1, 'd', 0xac, 2, 5}
	want = append(append(want, r.ID[:]...), 7, 1, 'm', 2, 'h', 'i')
	if got := Append(nil, &r); !bytes.Equal(got, want) {
		t.Errorf("% x\nnot\n% x", got, want)
	}
	r.Kind = Mark
	want[1] = byte(Mark)
	if got := Append(nil, &r); !bytes.Equal(got, want[:22]) {
		t.Errorf("a mark is % x", got)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, r := range samples() {
		b := Append(nil, &r)
		for n := 0; n < min(len(b), 200); n++ {
			if err := new(Record).Decode(b[:n:n]); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("cut to %d of %d bytes: %v", n, len(b), err)
			}
		}
	}
	good := Append(nil, &samples()[0])
	for name, b := range map[string][]byte{
		"version 0": append([]byte{0}, good[1:]...), "version 2": append([]byte{2}, good[1:]...),
		"kind 0": append([]byte{1, 0}, good[2:]...), "kind 7": append([]byte{1, 7}, good[2:]...),
		"a length of 2^63":     append(append([]byte{}, good[:12]...), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
		"a varint without end": append(append([]byte{}, good[:12]...), bytes.Repeat([]byte{0xff}, 20)...),
	} {
		if err := new(Record).Decode(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFramed(t *testing.T) {
	var batch []byte
	for _, r := range samples() {
		batch = AppendFramed(batch, &r)
	}
	for i, want := range samples() {
		rec, rest, err := NextFramed(batch)
		if err != nil || !bytes.Equal(rec, Append(nil, &want)) || cap(rec) != len(rec) {
			t.Fatalf("record %d: %d bytes, %v", i, len(rec), err)
		}
		batch = rest
	}
	if len(batch) != 0 {
		t.Errorf("%d bytes are left", len(batch))
	}
	for _, b := range [][]byte{nil, {1, 0, 0}, {2, 0, 0, 0, 1}, {0xff, 0xff, 0xff, 0xff, 1}} {
		if _, _, err := NextFramed(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("% x: %v", b, err)
		}
	}
}

func TestAllocatesNothing(t *testing.T) {
	r, got := samples()[0], Record{}
	buf := make([]byte, 0, 4096)
	n := testing.AllocsPerRun(100, func() {
		buf = AppendFramed(buf[:0], &r)
		rec, _, err := NextFramed(buf)
		if err != nil || got.Decode(rec) != nil {
			t.Fatal("not decoded")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzRecord takes any bytes for a record: decoding never panics, and what was
// decoded comes back from its own encoding. The same bytes as a batch end.
func FuzzRecord(f *testing.F) {
	for _, r := range samples() {
		if b := Append(nil, &r); len(b) < 400 {
			f.Add(b)
			f.Add(AppendFramed(nil, &r))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r, again Record
		if err := r.Decode(b); err == nil {
			own := Append(nil, &r)
			if err := again.Decode(own); err != nil || !same(r, again) {
				t.Fatalf("%+v came back as %+v, %v", r, again, err)
			}
			if !bytes.Equal(Append(nil, &again), own) {
				t.Fatal("the encoding is not stable")
			}
		} else if !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		for len(b) > 0 {
			_, rest, err := NextFramed(b)
			if err != nil {
				break
			}
			if len(rest) >= len(b) {
				t.Fatal("no progress")
			}
			b = rest
		}
	})
}

func BenchmarkAppendDecode(b *testing.B) {
	r, got := samples()[0], Record{}
	r.Content = make([]byte, 100)
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = Append(buf[:0], &r)
		_ = got.Decode(buf)
	}
}

func TestNames(t *testing.T) {
	want := []string{"ann", "acme/bob", string(bytes.Repeat([]byte("x"), 200))}
	var names []byte
	for _, name := range want {
		names = AppendName(names, []byte(name))
	}
	for rest := names; len(want) > 0; want = want[1:] {
		name, more, err := NextName(rest)
		if err != nil || string(name) != want[0] {
			t.Fatalf("%q, %v, want %q", name, err, want[0])
		}
		rest = more
	}
	for _, bad := range []string{"", "\x00", "\x05ann", "\xff"} {
		if _, _, err := NextName([]byte(bad)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
