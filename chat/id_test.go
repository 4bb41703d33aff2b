package chat_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

var node = chat.Node{0x83, 1, 2, 3, 4, 5}

// The example of RFC 9562 appendix A.1.
func TestIDOfTheStandard(t *testing.T) {
	const text = "c232ab00-9414-11ec-b3c8-9f6bdeced846"
	at := time.Date(2022, 2, 22, 14, 22, 22, 0, time.FixedZone("", -5*3600))
	id := chat.NewID(chat.Ticks(at), 0x33c8, chat.Node{0x9f, 0x6b, 0xde, 0xce, 0xd8, 0x46})
	if id.String() != text {
		t.Errorf("%s, the standard has %s", id, text)
	}
	parsed, err := chat.ParseID(strings.ToUpper(text))
	if err != nil || parsed != id {
		t.Errorf("parsed as %s, %v", parsed, err)
	}
	if !id.Time().Equal(at) || id.UnixMilli() != at.UnixMilli() || id.Ticks() != 0x1ec9414c232ab00 || id.ClockSeq() != 0x33c8 || id.Node()[0] != 0x9f || !id.Valid() {
		t.Errorf("fields: %v %v %#x %#x %x %v", id.Time(), id.UnixMilli(), id.Ticks(), id.ClockSeq(), id.Node(), id.Valid())
	}
}

func TestIDFieldsComeBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		ticks, seq := rng.Uint64()>>4, uint16(rng.Uint32())&chat.MaxClockSeq
		n := chat.Node{byte(rng.Uint32()) | 1, byte(rng.Uint32()), 2, 3, 4, 5}
		id := chat.NewID(ticks, seq, n)
		if id.Ticks() != ticks || id.ClockSeq() != seq || id.Node() != n || !id.Valid() {
			t.Fatalf("%s of %#x %#x %x", id, ticks, seq, n)
		}
		if chat.IDFromSortable(id.Sortable()) != id {
			t.Fatalf("%s does not come back from its sortable form", id)
		}
		if parsed, err := chat.ParseID(id.String()); err != nil || parsed != id {
			t.Fatalf("%s is parsed as %s, %v", id, parsed, err)
		}
	}
}

func TestNewIDKeepsItsBits(t *testing.T) {
	if id := chat.NewID(1<<64-1, 1<<16-1, node); !id.Valid() || id.Ticks() != 1<<60-1 || id.ClockSeq() != chat.MaxClockSeq {
		t.Errorf("%s: too large a time or sequence changed other bits", id)
	}
}

func TestIDOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var ids []chat.ID
	for range 300 {
		ticks := []uint64{5, 6, 1 << 32, 1<<32 | 5, 1 << 48, 1<<48 | 1<<32}[rng.IntN(6)]
		ids = append(ids, chat.NewID(ticks, uint16(rng.IntN(3)), chat.Node{1, byte(rng.IntN(3))}))
	}
	slices.SortFunc(ids, chat.ID.Compare)
	for i := range ids[1:] {
		a, b := ids[i], ids[i+1]
		sa, sb := a.Sortable(), b.Sortable()
		if a.Ticks() > b.Ticks() || bytes.Compare(sa[:], sb[:]) > 0 || (a.Compare(b) == 0) != (a == b) {
			t.Fatalf("%s before %s", a, b)
		}
	}
}

func TestInvalidIDs(t *testing.T) {
	good := chat.NewID(1<<50, 7, node)
	for name, change := range map[string]func(*chat.ID){
		"version 4":         func(id *chat.ID) { id[6] = id[6]&0x0f | 0x40 },
		"other variant":     func(id *chat.ID) { id[8] |= 0xc0 },
		"no multicast node": func(id *chat.ID) { id[10] &^= 1 },
		"zero":              func(id *chat.ID) { *id = chat.ID{} },
	} {
		id := good
		if change(&id); id.Valid() {
			t.Errorf("%s: %s is valid", name, id)
		}
	}
	if good.Zero() || !(chat.ID{}).Zero() {
		t.Error("Zero")
	}
}

func TestParseIDRefuses(t *testing.T) {
	good := chat.NewID(1<<50, 7, node).String()
	for _, s := range []string{"", good[1:], good + "0", strings.ReplaceAll(good, "-", ""), strings.Replace(good, "-", "_", 1), "g" + good[1:]} {
		if _, err := chat.ParseID(s); chat.CodeOf(err) != chat.CodeBadID {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// Whatever the wall clock does, IDs of one clock rise strictly.
func TestClockRises(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	c := chat.NewClock(node, 9, chat.ID{})
	last := c.Next(now)
	if got := last.Time(); !got.Equal(now) {
		t.Errorf("the first id has the time %v", got)
	}
	for _, step := range []time.Duration{0, 0, time.Nanosecond, -time.Hour, 0, time.Second, -24 * 365 * time.Hour, 3 * 24 * 365 * time.Hour} {
		now = now.Add(step)
		id := c.Next(now)
		if id.Compare(last) <= 0 {
			t.Fatalf("after a step of %v: %s, then %s", step, last, id)
		}
		last = id
	}
	if got := last.Time(); !got.Equal(now.Truncate(100 * time.Nanosecond)) {
		t.Errorf("the clock went on and the id has %v, not %v", got, now)
	}
}

func TestClockSeesOthers(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	theirs := chat.NewID(chat.Ticks(now.Add(5*time.Second)), 1, chat.Node{0x85})
	c := chat.NewClock(node, 9, chat.ID{})
	c.See(theirs)
	c.See(chat.NewID(chat.Ticks(now), 1, chat.Node{0x85})) // an older one changes nothing
	if id := c.Next(now); id.Compare(theirs) <= 0 {
		t.Errorf("%s is not above %s", id, theirs)
	}
}

func TestClockGoesOnFromItsLast(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	last := chat.NewClock(node, 9, chat.ID{}).Next(now.Add(time.Minute))
	id := chat.NewClock(node, 9, last).Next(now)
	if id.Compare(last) <= 0 || id.ClockSeq() != 9 || id.Node() != node {
		t.Errorf("%s after %s", id, last)
	}
}

func ExampleClock() {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) // the server's time, not the device's
	c := chat.NewClock(chat.Node{0x83, 1, 2, 3, 4, 5}, 0x1234, chat.ID{})
	fmt.Println(c.Next(now))
	fmt.Println(c.Next(now))
	// Output:
	// b282c080-e787-11f0-9234-830102030405
	// b282c081-e787-11f0-9234-830102030405
}

func ExampleParseID() {
	id, _ := chat.ParseID("c232ab00-9414-11ec-b3c8-9f6bdeced846")
	fmt.Println(id.Time().UTC())
	_, err := chat.ParseID("c232ab00")
	fmt.Println(errors.Is(err, &chat.Error{Code: chat.CodeBadID}))
	// Output:
	// 2022-02-22 19:22:22 +0000 UTC
	// true
}
