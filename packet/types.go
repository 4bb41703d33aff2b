// Package packet is what travels inside WebSocket binary messages: packets in
// MessagePack. A WebSocket message holds one or more packets, one after another.
// Each is an array whose first element is the packet's type. Elements after the
// last known one are ignored; an element may be absent only from the end, and
// then has its zero value. docs/protocol.md has the byte layouts and examples.
package packet

import "github.com/rookery-chat/rookery/chat"

// Version is the protocol version of hello and welcome.
const Version = 1

// Subprotocol is the WebSocket subprotocol that carries these packets.
const Subprotocol = "rookery.v1"

// Type is the first element of a packet.
type Type uint8

// Packets of a client.
const (
	TypeHello   Type = 1
	TypeSend    Type = 2
	TypeMark    Type = 3
	TypeRead    Type = 4
	TypeTyping  Type = 5
	TypeWatch   Type = 6
	TypeUnwatch Type = 7
	TypeHistory Type = 8
	TypeChats   Type = 9
	TypeRefresh Type = 10
	TypePing    Type = 11
	TypePush    Type = 12
)

// Packets of the server.
const (
	TypeWelcome     Type = 32
	TypeAccepted    Type = 33
	TypeRefused     Type = 34
	TypeMessage     Type = 35
	TypeCopy        Type = 36
	TypeReceipt     Type = 37
	TypeCaughtUp    Type = 38
	TypeTruncated   Type = 39
	TypeTypingFrom  Type = 40
	TypePresence    Type = 41
	TypeHistoryPage Type = 42
	TypeChatsPage   Type = 43
	TypeOutcome     Type = 44
	TypeRefreshed   Type = 45
	TypePong        Type = 46
	TypeError       Type = 47
	TypeBye         Type = 48
	TypeDone        Type = 49
)

// Resume values of Hello that are no position.
const (
	ResumeCursor = -2 // where this device's cursor stands; nil on the wire
	ResumeNow    = -1 // from now on
)

// Flags of a Send.
const SendRetry = 1 // the id may have touched a socket before

// Hello [1, version, device, seq, resume] opens a session; it is the first packet.
type Hello struct {
	Version uint64
	Device  string
	Seq     uint16 // clock-sequence bits of this installation's ids
	Resume  int64  // a position, ResumeNow or ResumeCursor
}

// Send [2, n, id, to, suite, content, flags, ttl, media] sends a message. Hot.
// Numbers n count a session's sends from 1; after a Refused of n the next send
// is n again.
type Send struct {
	N       uint64
	ID      chat.ID
	To      []byte // the name of a user or a group (str)
	Suite   uint8
	Content []byte
	Flags   uint8
	TTL     uint32 // seconds; 0 is for ever
	Media   []byte // a URL (str)
}

// Mark [3, pos]: this device has persisted its chain up to pos. Hot.
type Mark struct{ Pos chat.Position }

// Read [4, peer, pos]: the user has been shown the chat with peer up to pos, a
// position in the user's own partition; of a group, a place in its order. Hot.
type Read struct {
	Peer []byte
	Pos  chat.Position
}

// Typing [5, peer, on] says that the user types, or stopped. Never stored. Hot.
type Typing struct {
	Peer []byte
	On   bool
}

// Watch [6, req, users] asks for presence of users, now and on change.
type Watch struct {
	Req   uint64
	Users []string
}

// Unwatch [7, users] ends it.
type Unwatch struct{ Users []string }

// History [8, req, peer, before, limit] asks for messages older than before
// (nil: from the newest), newest first. Limit 0 is as many as the server gives.
type History struct {
	Req    uint64
	Peer   string
	Before chat.ID
	Limit  int
}

// Chats [9, req, before, limit] asks for the user's chats whose newest message
// is older than Before, newest first; the zero ID is no bound. Limit 0 is as
// many as the server gives.
type Chats struct {
	Req    uint64
	Before chat.ID
	Limit  int
}

// Refresh [10, token] replaces the session's token by one that lives longer.
type Refresh struct{ Token string }

// Ping [11, data] asks for a Pong; for clients that cannot send a WebSocket ping.
type Ping struct{ Data uint64 }

// Push [12, req, provider, token] says where this device is told that something
// waits, when it is not connected. An empty provider forgets it.
type Push struct {
	Req      uint64
	Provider string
	Token    string
}

// Welcome [32, version, now, node, user, resume, waiting, heartbeat, expires,
// limits] answers Hello.
type Welcome struct {
	Version   uint64
	Now       int64 // the server's time, ms since 1970
	Node      chat.Node
	User      string
	Resume    chat.Position // where the session's chain begins
	Waiting   uint64        // entries waiting, counted up to Limits["waiting"]
	Heartbeat uint64        // ms; the server pings when nothing was heard for as long
	Expires   int64         // when the token does, ms since 1970
	Limits    map[string]uint64
}

// Accepted [33, n, count, pos]: the sends n-count+1 … n are durable; their
// places are pos-count+1 … pos in their receiver's partition. Hot.
type Accepted struct {
	N, Count uint64
	Pos      chat.Position
}

// Refused [34, n, code, retry, text]: the send n was not taken, and nothing
// newer will be until n is sent again (the same message, or the next one if the
// code says stop). retry is in ms.
type Refused struct {
	N     uint64
	Code  chat.Code
	Retry uint64
	Text  string
}

// Message [35, pos, gap, id, from, late, suite, content, expires, media] is a
// message to the user. gap is pos minus the chain's position before it; late is
// the server's time of taking it in minus the id's, in ms. Hot.
type Message struct {
	Pos     chat.Position
	Gap     uint64
	ID      chat.ID
	From    []byte
	Late    int64
	Suite   uint8
	Content []byte
	Expires int64 // ms since 1970; 0 is never
	Media   []byte
}

// Copy [36, pos, gap, id, to, late, suite, content, place, expires, media] is a
// message that a device of the user sent. Content is nil for the device that
// sent it. place is its place in the receiver's partition. Hot.
type Copy struct {
	Pos     chat.Position
	Gap     uint64
	ID      chat.ID
	To      []byte
	Late    int64
	Suite   uint8
	Content []byte
	Place   chat.Position
	Expires int64
	Media   []byte
}

// Receipt [37, pos, gap, peer, delivered, read] says how far peer has come with
// what the user sent. pos and gap are 0 in catch-up, where it is no link of the
// chain. Hot.
type Receipt struct {
	Pos       chat.Position
	Gap       uint64
	Peer      []byte
	Delivered chat.Position
	Read      chat.Position
}

// CaughtUp [38, pos]: everything of the chain up to pos has been sent. Hot.
type CaughtUp struct{ Pos chat.Position }

// Truncated [39, pos]: the inbox no longer holds entries up to pos; ask history.
type Truncated struct{ Pos chat.Position }

// TypingFrom [40, peer, on]. Hot.
type TypingFrom struct {
	Peer []byte
	On   bool
}

// Presence [41, peer, online, seen]: seen is when the user was last connected,
// ms since 1970, 0 when never or now.
type Presence struct {
	Peer   string
	Online bool
	Seen   int64
}

// Row is one message of history: [id, from, place, late, suite, content,
// expires, media].
type Row struct {
	ID      chat.ID
	From    string
	Place   chat.Position
	Late    int64
	Suite   uint8
	Content []byte
	Expires int64
	Media   string
}

// HistoryPage [42, req, peer, delivered, read, more, rows, next] answers
// History; delivered and read are the receipt of what the user sent to peer.
// next is where the next page begins, where that is not the last row: what lies
// between is not the user's to read.
type HistoryPage struct {
	Req       uint64
	Peer      string
	Delivered chat.Position
	Read      chat.Position
	More      bool
	Rows      []Row
	Next      chat.ID
}

// ChatRow is one chat: [peer, delivered, read, mine, last]; mine is how far the
// user has read it.
type ChatRow struct {
	Peer      string
	Delivered chat.Position
	Read      chat.Position
	Mine      chat.Position
	Last      Row
}

// ChatsPage [43, req, more, chats] answers Chats.
type ChatsPage struct {
	Req   uint64
	More  bool
	Chats []ChatRow
}

// Outcome [44, id, to, code, place] tells of an accepted send: code 0 and its
// first place, when it had been stored before; another code, when it was not.
type Outcome struct {
	ID    chat.ID
	To    string
	Code  chat.Code
	Place chat.Position
}

// Refreshed [45, expires] answers Refresh; ms since 1970.
type Refreshed struct{ Expires int64 }

// Pong [46, data, now] answers Ping with the server's time, ms since 1970.
type Pong struct {
	Data uint64
	Now  int64
}

// Error [47, code, retry, text, req] answers a packet that was not served; req
// is its request number, 0 where it has none. The session goes on.
type Error struct {
	Code  chat.Code
	Retry uint64 // ms
	Text  string
	Req   uint64
}

// Bye [48, code, retry, url, text] is the last packet of a session: why it ends,
// how long to wait before coming back (ms), and where to ("" is the same place).
// After one that drains, Accepted of sends already taken may still come.
type Bye struct {
	Code  chat.Code
	Retry uint64
	URL   string
	Text  string
}

// Done [49, req] answers a request that was served and has no more to tell.
type Done struct{ Req uint64 }
