package record

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/chat"
)

// The reader of the version before, as it was: none of this is changed with the
// code. When a version is released, its reader takes the place of this one, and
// testdata/before what that version writes.
var kindsBefore = []Kind{Message, Copy, Mark, Read, Receipt, Fanout, Seal, Forward}

func decodeBefore(b []byte) (r Record, err error) {
	bad := func() (Record, error) { return r, ErrCorrupt }
	if len(b) < 12 || b[0] != 1 || !bytes.ContainsRune([]byte{1, 2, 3, 4, 5, 6, 16, 17}, rune(b[1])) {
		return bad()
	}
	r = Record{Kind: Kind(b[1]), Flags: b[2], Suite: b[3], At: int64(binary.LittleEndian.Uint64(b[4:]))}
	rest, failed := b[12:], false
	number := func() uint64 {
		n, size := binary.Uvarint(rest)
		if failed = failed || size <= 0; failed {
			return 0
		}
		rest = rest[size:]
		return n
	}
	take := func(n uint64) (taken []byte) {
		if failed = failed || n > uint64(len(rest)); failed {
			return nil
		}
		taken, rest = rest[:n], rest[n:]
		return taken
	}
	r.User, r.Peer, r.Device = take(number()), take(number()), take(number())
	r.Place, r.ReadTo = chat.Position(number()), chat.Position(number())
	if b[1] == 1 || b[1] == 2 || b[1] == 6 || b[1] == 17 {
		copy(r.ID[:], take(16))
		r.TTL = number()
		r.Media, r.Content = take(number()), take(number())
	}
	if failed {
		return bad()
	}
	return r, nil
}

// TestTheVersionBeforeReadsWhatWeWrite holds the rule by which two versions live
// in one log: none writes what the one before cannot read.
func TestTheVersionBeforeReadsWhatWeWrite(t *testing.T) {
	written := map[Kind]bool{}
	for _, want := range samples() {
		written[want.Kind] = true
		if got, err := decodeBefore(Append(nil, &want)); err != nil || !same(got, want) {
			t.Errorf("of %+v it reads %+v, %v", want, got, err)
		}
	}
	for k := range Kind(255) {
		if k.known() && !written[k] {
			t.Errorf("kind %d has no sample: whether the version before reads it is not shown", k)
		}
	}
	for _, k := range kindsBefore {
		if !written[k] {
			t.Errorf("kind %d is not written any more, and the version before may still write it", k)
		}
	}
}

// TestWeReadWhatTheVersionBeforeWrote reads bytes that it wrote.
func TestWeReadWhatTheVersionBeforeWrote(t *testing.T) {
	b, err := os.ReadFile("testdata/before")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(b))
	if len(lines) != len(kindsBefore) {
		t.Fatalf("%d records, there are %d kinds", len(lines), len(kindsBefore))
	}
	for i, line := range lines {
		raw, err := hex.DecodeString(line)
		if err != nil {
			t.Fatal(err)
		}
		want, err := decodeBefore(raw)
		if err != nil || want.Kind != kindsBefore[i] {
			t.Fatalf("line %d: kind %d, %v", i+1, want.Kind, err)
		}
		var got Record
		if err := got.Decode(raw); err != nil || !same(got, want) {
			t.Errorf("line %d: %+v, %v; it was %+v", i+1, got, err, want)
		}
	}
}

// TestWhatIsTooNew has records as a later version may write them: what it adds
// is passed over by the one before, what it changes is refused by it, whole.
func TestWhatIsTooNew(t *testing.T) {
	for _, r := range samples() {
		b := Append(nil, &r)
		want := r
		want.Flags |= 0x80
		added := append(bytes.Clone(b), 3, 'n', 'e', 'w')
		added[2] |= 0x80
		if got, err := decodeBefore(added); err != nil || !same(got, want) {
			t.Errorf("with a flag and a field more, of %+v are read %+v, %v", r, got, err)
		}
		for at, value := range map[int]byte{0: Version + 1, 1: 200} {
			changed := bytes.Clone(b)
			changed[at] = value
			_, before := decodeBefore(changed)
			if now := new(Record).Decode(changed); !errors.Is(before, ErrCorrupt) || !errors.Is(now, ErrCorrupt) {
				t.Errorf("byte %d is %d, and it is read: %v, %v", at, value, before, now)
			}
		}
	}
}
