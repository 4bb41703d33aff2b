package chat

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
)

// A group stands wherever a message's receiver does, so it is a User: its name
// is a colon, which no user's name has, and the 16 bytes of its id in base64url.
// Its id is that of the message that made it, so that no two are the same.

// groupName is how many bytes the name of a group has, without tenant.
const groupName = 1 + 22

// NewGroup returns the group with an id in a tenant ("" is the default one).
func NewGroup(tenant string, id ID) User {
	name := User(":" + base64.RawURLEncoding.EncodeToString(id[:]))
	if tenant == "" {
		return name
	}
	return User(tenant) + "/" + name
}

// IsGroup reports whether the name is a group's.
func (u User) IsGroup() bool {
	return len(u) >= groupName && u[len(u)-groupName] == ':'
}

// GroupID returns the id of a group; false where the name is no group's.
func (u User) GroupID() (id ID, ok bool) {
	name := u.Name()
	if !ValidGroupName([]byte(name)) {
		return ID{}, false
	}
	n, err := base64.RawURLEncoding.Decode(id[:], []byte(name[1:]))
	return id, err == nil && n == len(id)
}

// ValidGroupName reports whether b is the name of a group without tenant. It
// does not allocate.
func ValidGroupName(b []byte) bool {
	if len(b) != groupName || b[0] != ':' {
		return false
	}
	for _, c := range b[1:] {
		if !nameByte(c, "-_") {
			return false
		}
	}
	switch b[groupName-1] { // it has two bits of the id, and four that are zero
	case 'A', 'Q', 'g', 'w':
		return true
	}
	return false
}

// ValidPeerName reports whether b is the name of a user or of a group.
func ValidPeerName(b []byte) bool { return ValidUserName(b) || ValidGroupName(b) }

// NewPeer checks the name of a user or of a group and joins it to its tenant.
func NewPeer(tenant, name string) (User, error) {
	if !ValidGroupName([]byte(name)) {
		return NewUser(tenant, name)
	}
	if tenant == "" {
		return User(name), nil
	}
	return User(tenant + "/" + name), nil
}

// Beside joins a name without tenant to the tenant of a user or group.
func (u User) Beside(name User) User {
	if t := u.Tenant(); t != "" {
		return User(t) + "/" + name
	}
	return name
}

// ChatOf returns the chat that a user has with a peer, who may be a group.
func ChatOf(user, peer User) ChatID {
	if peer.IsGroup() {
		return GroupChat(peer)
	}
	return DirectChat(user, peer)
}

// GroupChat derives the chat of a group: the first 16 bytes of
// SHA-256("rookery group chat" 00 group), the group with its tenant.
func GroupChat(group User) ChatID {
	var buf [128]byte
	in := append(append(buf[:0], "rookery group chat\x00"...), group...)
	sum := sha256.Sum256(in)
	return ChatID(sum[:16])
}

// Verb says what a Change does.
type Verb uint8

// The verbs.
const (
	GroupCreate Verb = 1 + iota // makes the group, its sender an admin, Users its members, Info
	GroupAdd                    // Users become members; by an admin
	GroupRemove                 // Users are members no more; by an admin
	GroupLeave                  // the sender is a member no more
	GroupAdmin                  // Users, who are members, become admins; by an admin
	GroupMember                 // Users are admins no more; by an admin
	GroupInfo                   // Info replaces what was there; by an admin
)

// Change is a change of a group: the content of a message to it with the suite
// SuiteGroup, the one content that the server reads. It has its place among the
// group's messages.
type Change struct {
	Verb  Verb
	Users []User // names without tenant
	Info  []byte // name and picture, opaque: clients encrypt it
}

const changeVersion = 1

// AppendTo appends the change as bytes: version 1, verb, the number of users,
// each user's length and name, and the info to the end. Numbers are unsigned
// varints.
func (c *Change) AppendTo(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, changeVersion, byte(c.Verb)), uint64(len(c.Users)))
	for _, u := range c.Users {
		dst = append(binary.AppendUvarint(dst, uint64(len(u))), u...)
	}
	return append(dst, c.Info...)
}

// ParseChange reads a change. What it returns shares no memory with b. The error
// is CodeBadChange.
func ParseChange(b []byte) (c Change, err error) {
	bad := Errorf(CodeBadChange, "no change of a group: version 1, verb, users, info")
	if len(b) < 3 || b[0] != changeVersion {
		return Change{}, bad
	}
	c.Verb = Verb(b[1])
	count, rest := takeUvarint(b[2:])
	if rest == nil || count > uint64(len(rest)) {
		return Change{}, bad
	}
	for range count {
		var n uint64
		if n, rest = takeUvarint(rest); rest == nil || n > uint64(len(rest)) || !ValidUserName(rest[:n]) {
			return Change{}, bad
		}
		c.Users = append(c.Users, User(rest[:n]))
		rest = rest[n:]
	}
	if len(rest) > 0 {
		c.Info = slices.Clone(rest)
	}
	return c, c.check()
}

func takeUvarint(b []byte) (v uint64, rest []byte) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil
	}
	return v, b[n:]
}

// check holds that a change has what its verb needs, and nothing else.
func (c *Change) check() error {
	users, info := false, len(c.Info) > 0
	switch c.Verb {
	case GroupCreate:
		return nil
	case GroupAdd, GroupRemove, GroupAdmin, GroupMember:
		users = true
	case GroupInfo:
		info = false // it may be taken away
	case GroupLeave:
	default:
		return Errorf(CodeBadChange, "verb %d is not known here", c.Verb)
	}
	if users != (len(c.Users) > 0) || info {
		return Errorf(CodeBadChange, "verb %d with %d users and %d bytes of info", c.Verb, len(c.Users), len(c.Info))
	}
	return nil
}
