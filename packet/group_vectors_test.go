package packet

import (
	"encoding/hex"
	"reflect"
	"testing"

	"github.com/rookery-chat/rookery/chat"
)

// groups.json of docs/vectors: what a client has to make and read of groups that
// is inside a packet: their names, and the contents that change them.

// changeVector is a change of a group and its content.
type changeVector struct {
	Verb  string   `json:"verb"`
	Users []string `json:"users"`
	Info  string   `json:"info"` // hex
	Hex   string   `json:"hex"`
}

// groupVector is the id of the message that makes a group, and the group's name.
type groupVector struct {
	ID    string `json:"id"`
	Group string `json:"group"`
}

type groupVectors struct {
	Changes    []changeVector `json:"changes"`
	BadChanges []string       `json:"bad_changes"` // hex
	Groups     []groupVector  `json:"groups"`
	BadGroups  []string       `json:"bad_groups"`
}

var verbNames = []string{chat.GroupCreate: "create", chat.GroupAdd: "add", chat.GroupRemove: "remove", chat.GroupLeave: "leave",
	chat.GroupAdmin: "admin", chat.GroupMember: "member", chat.GroupInfo: "info"}

func makeGroupVectors() (v groupVectors) {
	long := make([]chat.User, 200) // a count of two bytes
	for i := range long {
		long[i] = "u"
	}
	most := chat.User("a.user-with+a@name_of.64.bytes.0123456789.0123456789.0123456789.")
	for _, c := range []chat.Change{
		{Verb: chat.GroupCreate}, {Verb: chat.GroupCreate, Users: []chat.User{"bob", "carol"}, Info: []byte{0xca, 0xfe}},
		{Verb: chat.GroupAdd, Users: []chat.User{"bob"}}, {Verb: chat.GroupAdd, Users: long}, {Verb: chat.GroupRemove, Users: []chat.User{most}},
		{Verb: chat.GroupLeave}, {Verb: chat.GroupAdmin, Users: []chat.User{"bob", "carol"}}, {Verb: chat.GroupMember, Users: []chat.User{"bob"}},
		{Verb: chat.GroupInfo, Info: []byte("name and picture")}, {Verb: chat.GroupInfo},
	} {
		x := changeVector{Verb: verbNames[c.Verb], Users: []string{}, Info: hexOf(c.Info), Hex: hexOf(c.AppendTo(nil))}
		for _, u := range c.Users {
			x.Users = append(x.Users, string(u))
		}
		v.Changes = append(v.Changes, x)
	}
	for _, bad := range []string{
		"", "\x01\x02", "\x02\x04\x00", "\x01\x00\x00", "\x01\x08\x00", "\x01\x02\x00", "\x01\x04\x01\x01a", "\x01\x07\x01\x01a", "\x01\x02\x01\x01ax",
		"\x01\x02\x02\x01a", "\x01\x02\x01\x05a", "\x01\x02\x01\x00", "\x01\x02\x01\x01:", "\x01\x02\x01\x02\xc3\xa4", "\x01\x04\x80",
		"\x01\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		v.BadChanges = append(v.BadChanges, hexOf([]byte(bad)))
	}
	for _, x := range makeIDVectors().IDs {
		id := chat.ID(try(hex.DecodeString(x.Hex)))
		v.Groups = append(v.Groups, groupVector{x.Text, string(chat.NewGroup("", id))})
	}
	good := v.Groups[0].Group
	v.BadGroups = []string{"", ":", "bob", good[1:], good[:22], good + "A", good[:22] + "B", good[:22] + "+", "b" + good[1:]}
	return v
}

func TestVectorsOfGroups(t *testing.T) {
	v := sharedFile[groupVectors](t, "groups.json", makeGroupVectors())
	for _, x := range v.Changes {
		b := try(hex.DecodeString(x.Hex))
		c, err := chat.ParseChange(b)
		if err != nil || verbNames[c.Verb] != x.Verb || len(c.Users) != len(x.Users) || hexOf(c.Info) != x.Info || !reflect.DeepEqual(c.AppendTo(nil), b) {
			t.Errorf("%s is %+v: %v", x.Hex, c, err)
		}
	}
	for _, bad := range v.BadChanges {
		if c, err := chat.ParseChange(try(hex.DecodeString(bad))); err == nil {
			t.Errorf("%s is %+v", bad, c)
		}
	}
	for _, x := range v.Groups {
		id, ok := chat.User(x.Group).GroupID()
		if !ok || id.String() != x.ID || !chat.ValidGroupName([]byte(x.Group)) {
			t.Errorf("%s is %s", x.Group, id)
		}
	}
	for _, bad := range v.BadGroups {
		if chat.ValidGroupName([]byte(bad)) {
			t.Errorf("%q is a group", bad)
		}
	}
}
