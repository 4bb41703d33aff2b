package packet

import (
	"math"

	"github.com/rookery-chat/rookery/chat"
)

// The packets of groups. A client writes to a group by a Send to its name; a
// change of a group is such a Send too.

// Packets about groups.
const (
	TypeGroupGet     Type = 17
	TypeGroupMessage Type = 54
	TypeGroupPage    Type = 55
)

// Keys of Welcome.Limits about groups. A server that leaves LimitGroupMembers
// out has no groups.
const (
	LimitGroupMembers = "group_members" // members of a group; group_full
	LimitGroupInfo    = "group_info"    // bytes of a group's name and picture; too_large
	LimitBlocks       = "blocks"        // users that one has blocked; too_many. Left out: nobody blocks
)

// GroupMessage [54, pos, gap, id, from, group, place, late, suite, content,
// expires, media] is a message to a group the user is a member of. place is its
// place in the group's order. Hot.
type GroupMessage struct {
	Pos     chat.Position
	Gap     uint64
	ID      chat.ID
	From    []byte
	Group   []byte
	Place   chat.Position
	Late    int64
	Suite   uint8
	Content []byte
	Expires int64 // ms since 1970; 0 is never
	Media   []byte
}

// GroupGet [17, req, group, beyond, limit] asks for a group and its members with
// names beyond one ("" is before all). Limit 0 is as many as the server gives.
type GroupGet struct {
	Req    uint64
	Group  string
	Beyond string
	Limit  int
}

// GroupPage [55, req, group, info, more, members, place] answers GroupGet;
// members are in order of their names, and those of the group at place.
type GroupPage struct {
	Req     uint64
	Group   string
	Info    []byte // name and picture, as they were given
	More    bool
	Members []MemberRow
	Place   chat.Position
}

// MemberRow is a member: [user, admin, since, delivered, read]. since is the
// place of the change that made them one; delivered and read are places up to
// which they have come.
type MemberRow struct {
	User      string
	Admin     bool
	Since     chat.Position
	Delivered chat.Position
	Read      chat.Position
}

// Decode reads a GroupMessage. The error is CodeBadPacket.
func (x *GroupMessage) Decode(p Raw) error {
	b := p.elements(TypeGroupMessage)
	x.Pos, b = takePosition(b)
	x.Gap, b = takeUint(b, math.MaxUint64)
	b = takeID(b, &x.ID)
	x.From, b = takeStr(b)
	x.Group, b = takeStr(b)
	x.Place, b = takePosition(b)
	x.Late, b = takeInt(b)
	x.Suite, b = takeByte(b)
	x.Content, b = takeBin(b)
	x.Expires, b = takeInt(b)
	x.Media, b = takeStr(b)
	return p.end(b, TypeGroupMessage)
}

// AppendTo appends the encoded GroupMessage.
func (x *GroupMessage) AppendTo(dst []byte) []byte {
	extra := expiryElements(x.Expires, x.Media)
	dst = appendChain(appendHead(dst, TypeGroupMessage, 10+extra), x.Pos, x.Gap)
	dst = appendStr(appendStr(appendID(dst, &x.ID), x.From), x.Group)
	dst = appendUint(appendInt(appendUint(dst, uint64(x.Place)), x.Late), uint64(x.Suite))
	return appendExpiry(appendBin(dst, x.Content), extra, x.Expires, x.Media)
}

func (x *GroupGet) fields() []any { return []any{&x.Req, &x.Group, &x.Beyond, &x.Limit} }

// Decode reads a GroupGet.
func (x *GroupGet) Decode(p Raw) error {
	*x = GroupGet{}
	return decodeCold(p, TypeGroupGet, x)
}

// AppendTo appends the encoded GroupGet.
func (x *GroupGet) AppendTo(dst []byte) []byte { return appendCold(dst, TypeGroupGet, x) }

func (x *GroupPage) fields() []any {
	return []any{&x.Req, &x.Group, &x.Info, &x.More, &x.Members, &x.Place}
}

// Decode reads a GroupPage.
func (x *GroupPage) Decode(p Raw) error {
	*x = GroupPage{}
	return decodeCold(p, TypeGroupPage, x)
}

// AppendTo appends the encoded GroupPage.
func (x *GroupPage) AppendTo(dst []byte) []byte { return appendCold(dst, TypeGroupPage, x) }

func (x *MemberRow) fields() []any {
	return []any{&x.User, &x.Admin, &x.Since, &x.Delivered, &x.Read}
}
