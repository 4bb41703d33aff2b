package chat

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestGroupNames(t *testing.T) {
	id := NewID(Ticks(time.UnixMilli(1_700_000_000_000)), 0x1234, Node{0x83, 1, 2, 3, 4, 5})
	for _, tenant := range []string{"", "acme"} {
		g := NewGroup(tenant, id)
		back, ok := g.GroupID()
		if !ok || back != id || !g.IsGroup() || g.Tenant() != tenant || !ValidGroupName([]byte(g.Name())) {
			t.Errorf("%s: %v %v", g, back, ok)
		}
		if again, err := NewPeer(tenant, g.Name()); err != nil || again != g {
			t.Errorf("%s: %s, %v", g, again, err)
		}
		if ValidUserName([]byte(g.Name())) {
			t.Errorf("%s may be a user", g)
		}
		if ChatOf("acme/bob", g) != ChatOf("acme/alice", g) || ChatOf("bob", g) == DirectChat("bob", g) {
			t.Error("the chat of a group is not its own")
		}
	}
	if GroupChat(NewGroup("", id)) == GroupChat(NewGroup("acme", id)) {
		t.Error("two tenants share a group")
	}
	name := NewGroup("", id).Name()
	for _, bad := range []string{"", "bob", ":", name[1:], name[:22], name + "A", name[:22] + "B", ":" + strings.Repeat("+", 22), "b" + name[1:]} {
		if ValidGroupName([]byte(bad)) || User(bad).IsGroup() && bad == name[1:] {
			t.Errorf("%q is a group", bad)
		}
	}
	if _, err := NewPeer("", ":x"); err == nil {
		t.Error("a short group name passed")
	}
}

func TestChanges(t *testing.T) {
	for _, c := range []Change{
		{Verb: GroupCreate}, {Verb: GroupCreate, Users: []User{"bob", "carol"}, Info: []byte{1, 2}},
		{Verb: GroupAdd, Users: []User{"bob"}}, {Verb: GroupRemove, Users: []User{"bob"}}, {Verb: GroupLeave},
		{Verb: GroupAdmin, Users: []User{"a", "b"}}, {Verb: GroupMember, Users: []User{"a"}}, {Verb: GroupInfo}, {Verb: GroupInfo, Info: []byte("x")},
	} {
		got, err := ParseChange(c.AppendTo(nil))
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%+v becomes %+v: %v", c, got, err)
		}
	}
	for _, bad := range []string{
		"", "\x01", "\x01\x02", "\x02\x04\x00", "\x01\x00\x00", "\x01\x08\x00", // short, another version, no verb
		"\x01\x02\x00", "\x01\x04\x01\x01a", "\x01\x07\x01\x01a", "\x01\x02\x01\x01ax", // without its users, with too much
		"\x01\x02\x02\x01a", "\x01\x02\x01\x05a", "\x01\x02\x01\x00", "\x01\x02\x01\x01:", "\x01\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		if c, err := ParseChange([]byte(bad)); err == nil {
			t.Errorf("%q is %+v", bad, c)
		}
	}
}

func FuzzParseChange(f *testing.F) {
	f.Add((&Change{Verb: GroupCreate, Users: []User{"bob", "carol"}, Info: []byte{1, 2}}).AppendTo(nil))
	f.Add([]byte("\x01\x02\x01\x01a"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseChange(b)
		if err != nil {
			return
		}
		again, err := ParseChange(c.AppendTo(nil))
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%x is %+v, which becomes %+v: %v", b, c, again, err)
		}
	})
}
