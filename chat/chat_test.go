package chat_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/chat"
)

func TestUserNames(t *testing.T) {
	for _, c := range []struct {
		tenant, name string
		user         chat.User // "" when refused
	}{
		{"", "alice", "alice"},
		{"", "A.b_c@d+e-9", "A.b_c@d+e-9"},
		{"acme", "alice", "acme/alice"},
		{"ac.me_1-x", "alice", "ac.me_1-x/alice"},
		{"", strings.Repeat("n", chat.MaxUserName), chat.User(strings.Repeat("n", chat.MaxUserName))},
		{strings.Repeat("t", chat.MaxTenant), "a", chat.User(strings.Repeat("t", chat.MaxTenant) + "/a")},
		{"", "", ""},
		{"", strings.Repeat("n", chat.MaxUserName+1), ""},
		{strings.Repeat("t", chat.MaxTenant+1), "a", ""},
		{"", "a/b", ""}, {"", "a b", ""}, {"", "a\x00", ""}, {"", "ä", ""}, {"", "a:b", ""},
		{"ac+me", "a", ""}, {"ac@me", "a", ""}, {"a/b", "a", ""},
	} {
		u, err := chat.NewUser(c.tenant, c.name)
		if u != c.user || (err == nil) != (c.user != "") || err != nil && chat.CodeOf(err) != chat.CodeBadName {
			t.Errorf("NewUser(%q, %q) is %q, %v", c.tenant, c.name, u, err)
		}
		if err == nil && (u.Name() != c.name || u.Tenant() != c.tenant) {
			t.Errorf("%q has tenant %q and name %q", u, u.Tenant(), u.Name())
		}
		if c.tenant == "" && chat.ValidUserName([]byte(c.name)) != (err == nil) {
			t.Errorf("ValidUserName(%q) is %v, NewUser says %v", c.name, err != nil, err)
		}
	}
}

// Every byte is judged alike by the two checks of a name.
func TestNameBytes(t *testing.T) {
	for b := range 256 {
		name := string([]byte{'a', byte(b)})
		_, err := chat.NewUser("", name)
		want := strings.IndexByte("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._@+-", byte(b)) >= 0
		if (err == nil) != want || chat.ValidUserName([]byte(name)) != want {
			t.Errorf("byte %#02x: %v", b, err)
		}
	}
}

func TestDeviceNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"phone": true, "a._-9": true, strings.Repeat("d", chat.MaxDevice): true,
		"": false, strings.Repeat("d", chat.MaxDevice+1): false, "a@b": false, "a+b": false, "a/b": false, "a b": false,
	} {
		d, err := chat.NewDevice(name)
		if (err == nil) != ok || ok && string(d) != name || !ok && chat.CodeOf(err) != chat.CodeBadName {
			t.Errorf("%q: %q, %v", name, d, err)
		}
	}
}

// Computed by another program from the words of the documentation.
func TestDirectChat(t *testing.T) {
	for _, c := range []struct{ a, b, chat string }{
		{"alice", "bob", "6058450458b56826fb30e79289410717"},
		{"alice", "alice", "d06f16664518498fb78257ffed99b4e8"},
		{"acme/alice", "acme/bob", "b97dea7a14b9e9eb5557ebd26962d178"},
		{"a", "ab", "2f17cf5d44090ea23ba506c30d13d0ac"},
		{"aa", "b", "c470a4c77bd38cd25ff21d674374fabc"},
	} {
		one, other := chat.DirectChat(chat.User(c.a), chat.User(c.b)), chat.DirectChat(chat.User(c.b), chat.User(c.a))
		if got := fmt.Sprintf("%x", one); got != c.chat || one != other {
			t.Errorf("%s and %s: %s, the other way %x", c.a, c.b, got, other)
		}
	}
	long := chat.User(strings.Repeat("t", chat.MaxTenant) + "/" + strings.Repeat("n", chat.MaxUserName))
	if chat.DirectChat(long, long) == chat.DirectChat(long, "a") {
		t.Error("long names are cut")
	}
	m := chat.Message{From: "bob", To: "alice"}
	if m.Chat() != chat.DirectChat("alice", "bob") {
		t.Error("a message is in another chat")
	}
}

func TestPositions(t *testing.T) {
	for _, c := range []struct {
		epoch  uint16
		offset uint64
		text   string
	}{
		{0, 0, "0"}, {0, 1, "1"}, {0, chat.MaxOffset, "281474976710655"}, {1, 0, "1:0"},
		{math.MaxUint16, chat.MaxOffset, "65535:281474976710655"}, {3, 42, "3:42"},
	} {
		p := chat.NewPosition(c.epoch, c.offset)
		if p.Epoch() != c.epoch || p.Offset() != c.offset || p.String() != c.text {
			t.Errorf("%d:%d is %d:%d, %q", c.epoch, c.offset, p.Epoch(), p.Offset(), p)
		}
		if q, err := chat.ParsePosition(c.text); err != nil || q != p {
			t.Errorf("%q is parsed as %v, %v", c.text, q, err)
		}
	}
	if chat.NewPosition(1, 0) <= chat.NewPosition(0, chat.MaxOffset) {
		t.Error("a later epoch is not above")
	}
	if p := chat.NewPosition(2, chat.MaxOffset+2); p.Epoch() != 2 || p.Offset() != 1 {
		t.Errorf("too large an offset changes the epoch: %v", p)
	}
}

func TestParsePositionRefuses(t *testing.T) {
	for _, s := range []string{"", ":", "1:", ":1", "-1", "+1", "1:-1", "65536:1", "281474976710656", "1:2:3", "x", " 1"} {
		if _, err := chat.ParsePosition(s); chat.CodeOf(err) != chat.CodeBadPosition {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestStatusOf(t *testing.T) {
	r := chat.Receipt{Delivered: 20, Read: 10}
	for place, want := range map[chat.Position]chat.Status{1: chat.Read, 10: chat.Read, 11: chat.Delivered, 20: chat.Delivered, 21: chat.Sent} {
		if got := chat.StatusOf(place, r); got != want {
			t.Errorf("place %v is %s, not %s", place, got, want)
		}
	}
	if got := chat.StatusOf(5, chat.Receipt{Read: 5}); got != chat.Read {
		t.Errorf("read by one device, delivered by none known: %s", got)
	}
	if s := fmt.Sprint(chat.Sent, chat.Delivered, chat.Read, chat.Status(9)); s != "sent delivered read unknown" {
		t.Error(s)
	}
	if chat.Sent >= chat.Delivered || chat.Delivered >= chat.Read {
		t.Error("the states are out of order")
	}
}

func ExampleDirectChat() {
	fmt.Println(chat.DirectChat("alice", "bob") == chat.DirectChat("bob", "alice"))
	// Output: true
}

func ExampleParsePosition() {
	p, _ := chat.ParsePosition("2:17")
	fmt.Println(p.Epoch(), p.Offset(), uint64(p))
	// Output: 2 17 562949953421329
}
