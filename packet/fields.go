package packet

// Fields, Decode and AppendTo of the packets in cold.go. Every Decode starts
// from the zero value, copies what it keeps, and fails with CodeBadPacket.

func (x *Hello) fields() []any {
	return []any{&x.Version, &x.Device, &x.Seq, (*resume)(&x.Resume)}
}

// Decode reads a Hello.
func (x *Hello) Decode(p Raw) error {
	*x = Hello{Resume: ResumeCursor}
	return decodeCold(p, TypeHello, x)
}

// AppendTo appends the encoded Hello.
func (x *Hello) AppendTo(dst []byte) []byte { return appendCold(dst, TypeHello, x) }

func (x *Watch) fields() []any {
	return []any{&x.Req, &x.Users}
}

// Decode reads a Watch.
func (x *Watch) Decode(p Raw) error {
	*x = Watch{}
	return decodeCold(p, TypeWatch, x)
}

// AppendTo appends the encoded Watch.
func (x *Watch) AppendTo(dst []byte) []byte { return appendCold(dst, TypeWatch, x) }

func (x *Unwatch) fields() []any {
	return []any{&x.Users}
}

// Decode reads an Unwatch.
func (x *Unwatch) Decode(p Raw) error {
	*x = Unwatch{}
	return decodeCold(p, TypeUnwatch, x)
}

// AppendTo appends the encoded Unwatch.
func (x *Unwatch) AppendTo(dst []byte) []byte { return appendCold(dst, TypeUnwatch, x) }

func (x *History) fields() []any {
	return []any{&x.Req, &x.Peer, &x.Before, &x.Limit}
}

// Decode reads a History.
func (x *History) Decode(p Raw) error {
	*x = History{}
	return decodeCold(p, TypeHistory, x)
}

// AppendTo appends the encoded History.
func (x *History) AppendTo(dst []byte) []byte { return appendCold(dst, TypeHistory, x) }

func (x *Chats) fields() []any {
	return []any{&x.Req, &x.Before, &x.Limit}
}

// Decode reads a Chats.
func (x *Chats) Decode(p Raw) error {
	*x = Chats{}
	return decodeCold(p, TypeChats, x)
}

// AppendTo appends the encoded Chats.
func (x *Chats) AppendTo(dst []byte) []byte { return appendCold(dst, TypeChats, x) }

func (x *Refresh) fields() []any {
	return []any{&x.Token}
}

// Decode reads a Refresh.
func (x *Refresh) Decode(p Raw) error {
	*x = Refresh{}
	return decodeCold(p, TypeRefresh, x)
}

// AppendTo appends the encoded Refresh.
func (x *Refresh) AppendTo(dst []byte) []byte { return appendCold(dst, TypeRefresh, x) }

func (x *Ping) fields() []any {
	return []any{&x.Data}
}

// Decode reads a Ping.
func (x *Ping) Decode(p Raw) error {
	*x = Ping{}
	return decodeCold(p, TypePing, x)
}

// AppendTo appends the encoded Ping.
func (x *Ping) AppendTo(dst []byte) []byte { return appendCold(dst, TypePing, x) }

func (x *Welcome) fields() []any {
	return []any{&x.Version, &x.Now, &x.Node, &x.User, &x.Resume, &x.Waiting, &x.Heartbeat, &x.Expires, &x.Limits}
}

// Decode reads a Welcome.
func (x *Welcome) Decode(p Raw) error {
	*x = Welcome{}
	return decodeCold(p, TypeWelcome, x)
}

// AppendTo appends the encoded Welcome.
func (x *Welcome) AppendTo(dst []byte) []byte { return appendCold(dst, TypeWelcome, x) }

func (x *Refused) fields() []any {
	return []any{&x.N, &x.Code, &x.Retry, &x.Text}
}

// Decode reads a Refused.
func (x *Refused) Decode(p Raw) error {
	*x = Refused{}
	return decodeCold(p, TypeRefused, x)
}

// AppendTo appends the encoded Refused.
func (x *Refused) AppendTo(dst []byte) []byte { return appendCold(dst, TypeRefused, x) }

func (x *Truncated) fields() []any {
	return []any{&x.Pos}
}

// Decode reads a Truncated.
func (x *Truncated) Decode(p Raw) error {
	*x = Truncated{}
	return decodeCold(p, TypeTruncated, x)
}

// AppendTo appends the encoded Truncated.
func (x *Truncated) AppendTo(dst []byte) []byte { return appendCold(dst, TypeTruncated, x) }

func (x *Presence) fields() []any {
	return []any{&x.Peer, &x.Online, &x.Seen}
}

// Decode reads a Presence.
func (x *Presence) Decode(p Raw) error {
	*x = Presence{}
	return decodeCold(p, TypePresence, x)
}

// AppendTo appends the encoded Presence.
func (x *Presence) AppendTo(dst []byte) []byte { return appendCold(dst, TypePresence, x) }

func (x *HistoryPage) fields() []any {
	return []any{&x.Req, &x.Peer, &x.Delivered, &x.Read, &x.More, &x.Rows, &x.Next}
}

// Decode reads a HistoryPage.
func (x *HistoryPage) Decode(p Raw) error {
	*x = HistoryPage{}
	return decodeCold(p, TypeHistoryPage, x)
}

// AppendTo appends the encoded HistoryPage.
func (x *HistoryPage) AppendTo(dst []byte) []byte { return appendCold(dst, TypeHistoryPage, x) }

func (x *ChatsPage) fields() []any {
	return []any{&x.Req, &x.More, &x.Chats}
}

// Decode reads a ChatsPage.
func (x *ChatsPage) Decode(p Raw) error {
	*x = ChatsPage{}
	return decodeCold(p, TypeChatsPage, x)
}

// AppendTo appends the encoded ChatsPage.
func (x *ChatsPage) AppendTo(dst []byte) []byte { return appendCold(dst, TypeChatsPage, x) }

func (x *Outcome) fields() []any {
	return []any{&x.ID, &x.To, &x.Code, &x.Place}
}

// Decode reads an Outcome.
func (x *Outcome) Decode(p Raw) error {
	*x = Outcome{}
	return decodeCold(p, TypeOutcome, x)
}

// AppendTo appends the encoded Outcome.
func (x *Outcome) AppendTo(dst []byte) []byte { return appendCold(dst, TypeOutcome, x) }

func (x *Refreshed) fields() []any {
	return []any{&x.Expires}
}

// Decode reads a Refreshed.
func (x *Refreshed) Decode(p Raw) error {
	*x = Refreshed{}
	return decodeCold(p, TypeRefreshed, x)
}

// AppendTo appends the encoded Refreshed.
func (x *Refreshed) AppendTo(dst []byte) []byte { return appendCold(dst, TypeRefreshed, x) }

func (x *Pong) fields() []any {
	return []any{&x.Data, &x.Now}
}

// Decode reads a Pong.
func (x *Pong) Decode(p Raw) error {
	*x = Pong{}
	return decodeCold(p, TypePong, x)
}

// AppendTo appends the encoded Pong.
func (x *Pong) AppendTo(dst []byte) []byte { return appendCold(dst, TypePong, x) }

func (x *Error) fields() []any {
	return []any{&x.Code, &x.Retry, &x.Text, &x.Req}
}

// Decode reads an Error.
func (x *Error) Decode(p Raw) error {
	*x = Error{}
	return decodeCold(p, TypeError, x)
}

// AppendTo appends the encoded Error.
func (x *Error) AppendTo(dst []byte) []byte { return appendCold(dst, TypeError, x) }

func (x *Bye) fields() []any {
	return []any{&x.Code, &x.Retry, &x.URL, &x.Text}
}

// Decode reads a Bye.
func (x *Bye) Decode(p Raw) error {
	*x = Bye{}
	return decodeCold(p, TypeBye, x)
}

// AppendTo appends the encoded Bye.
func (x *Bye) AppendTo(dst []byte) []byte { return appendCold(dst, TypeBye, x) }

func (x *Row) fields() []any {
	return []any{&x.ID, &x.From, &x.Place, &x.Late, &x.Suite, &x.Content, &x.Expires, &x.Media}
}

func (x *ChatRow) fields() []any {
	return []any{&x.Peer, &x.Delivered, &x.Read, &x.Mine, &x.Last}
}

func (x *Push) fields() []any {
	return []any{&x.Req, &x.Provider, &x.Token}
}

// Decode reads a Push.
func (x *Push) Decode(p Raw) error {
	*x = Push{}
	return decodeCold(p, TypePush, x)
}

// AppendTo appends the encoded Push.
func (x *Push) AppendTo(dst []byte) []byte { return appendCold(dst, TypePush, x) }

func (x *Done) fields() []any {
	return []any{&x.Req}
}

// Decode reads a Done.
func (x *Done) Decode(p Raw) error {
	*x = Done{}
	return decodeCold(p, TypeDone, x)
}

// AppendTo appends the encoded Done.
func (x *Done) AppendTo(dst []byte) []byte { return appendCold(dst, TypeDone, x) }
