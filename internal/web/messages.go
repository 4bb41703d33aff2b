package web

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
)

const (
	botDevice  = "api" // of a caller whose token and request name none
	maxIDs     = 100   // of a request
	maxEvents  = 100   // of an answer
	maxHistory = 100
	maxWait    = 25 * time.Second // that a request waits for events
)

// message is one message, in answers and events.
type message struct {
	ID      string `json:"id"`
	From    string `json:"from"`
	To      string `json:"to"`
	Place   string `json:"place"`
	At      int64  `json:"at"` // ms since 1970
	Expires int64  `json:"expires,omitempty"`
	Suite   uint8  `json:"suite"`
	Content []byte `json:"content"` // base64
	Media   string `json:"media,omitempty"`
}

func messageOf(m *chat.Message) *message {
	return &message{
		ID: m.ID.String(), From: m.From.Name(), To: m.To.Name(), Place: m.Place.String(), At: m.At, Expires: m.Expires,
		Suite: m.Suite, Content: append([]byte{}, m.Content...), Media: m.Media,
	}
}

// event is one link of the user's chain, or what happened behind the one before.
type event struct {
	Type      string   `json:"type"` // message, copy, receipt, truncated, problem
	Position  string   `json:"position"`
	Message   *message `json:"message,omitempty"`
	Peer      string   `json:"peer,omitempty"`      // of a receipt
	Delivered string   `json:"delivered,omitempty"` // of a receipt
	Read      string   `json:"read,omitempty"`      // of a receipt
	ID        string   `json:"id,omitempty"`        // of a problem with a message
	Text      string   `json:"text,omitempty"`      // of a problem

	pos chat.Position
}

// eventOf turns an event of the SDK into one of the API; ok is false for those
// that are about the connection.
func eventOf(e client.Event) (out event, ok bool) {
	switch e := e.(type) {
	case client.Message:
		return event{Type: "message", Message: messageOf(&e.Message)}, true
	case client.Copy:
		return event{Type: "copy", Message: messageOf(&e.Message)}, true
	case client.Receipt:
		return event{Type: "receipt", Peer: e.Peer.Name(), Delivered: e.Delivered.String(), Read: e.Receipt.Read.String()}, true
	case client.CaughtUp:
		return event{Type: "caught_up"}, true
	case client.Truncated:
		return event{Type: "truncated"}, true
	case client.Problem:
		return event{Type: "problem", ID: e.ID.String(), Text: e.Err.Error()}, true
	}
	return event{}, false
}

// bot enters the session of a request.
func (s *Server) bot(r *http.Request, id caller) (*bot, func(), error) {
	name := r.URL.Query().Get("device")
	switch {
	case id.Device != "" && name != "" && name != string(id.Device):
		return nil, nil, chat.Errorf(chat.CodeForbidden, "the token is of the device %s", id.Device)
	case id.Device != "":
		name = string(id.Device)
	case name == "":
		name = botDevice
	}
	device, err := chat.NewDevice(name)
	if err != nil {
		return nil, nil, err
	}
	return s.bots.enter(id, device)
}

// botIDs makes ids for messages to come.
func (s *Server) botIDs(_ http.ResponseWriter, r *http.Request, id caller) (any, error) {
	var ask struct {
		Count int `json:"count"`
	}
	if err := body(r, &ask); err != nil {
		return nil, err
	}
	if ask.Count < 1 || ask.Count > maxIDs {
		return nil, chat.Errorf(chat.CodeTooMany, "a request makes 1 to %d ids", maxIDs)
	}
	b, leave, err := s.bot(r, id)
	if err != nil {
		return nil, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(r.Context(), s.opt.Timeout)
	defer cancel()
	list := make([]string, ask.Count)
	for i := range list {
		made, err := b.client.NewID(ctx)
		if err != nil {
			return nil, err
		}
		list[i] = made.String()
	}
	return map[string][]string{"ids": list}, nil
}

// botSend sends the message of an id, and answers when it is durable. The same
// again is the same message.
func (s *Server) botSend(_ http.ResponseWriter, r *http.Request, id caller) (any, error) {
	var ask struct {
		To      string `json:"to"`
		Suite   uint8  `json:"suite"`
		Content []byte `json:"content"`
		TTL     int64  `json:"ttl"` // seconds
		Media   string `json:"media"`
	}
	if err := body(r, &ask); err != nil {
		return nil, err
	}
	named, err := chat.ParseID(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if ask.TTL < 0 || ask.TTL > 1<<31 {
		return nil, chat.Errorf(chat.CodeBadTTL, "a time to live of %d s cannot be", ask.TTL)
	}
	b, leave, err := s.bot(r, id)
	if err != nil {
		return nil, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(r.Context(), s.opt.Timeout)
	defer cancel()
	o := client.SendOptions{ID: named, Suite: ask.Suite, TTL: time.Duration(ask.TTL) * time.Second, Media: ask.Media}
	sent, err := b.send(ctx, ask.To, ask.Content, o)
	if err == nil {
		err = sent.Durable(ctx)
	}
	if err != nil && ctx.Err() != nil {
		err = chat.Errorf(chat.CodeUnknown, "not durable in time: send the same again")
	}
	if err != nil {
		return nil, err
	}
	return map[string]string{"id": named.String(), "place": sent.Place().String()}, nil
}

// send is client.Send, once for an id that is under way.
func (b *bot) send(ctx context.Context, to string, content []byte, o client.SendOptions) (*client.Sent, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, other := range b.sending {
		if status, err := other.Status(); status != 0 || err != nil {
			delete(b.sending, id)
		}
	}
	if sent := b.sending[o.ID]; sent != nil {
		return sent, nil
	}
	sent, err := b.client.Send(ctx, to, content, o)
	if err == nil {
		b.sending[o.ID] = sent
	}
	return sent, err
}

// botEvents gives what comes for the user, and waits for it. What is given
// comes again until a later request says after, or the session ends.
func (s *Server) botEvents(w http.ResponseWriter, r *http.Request, id caller) (any, error) {
	q := r.URL.Query()
	wait, err := waitOf(q.Get("wait"))
	if err != nil {
		return nil, err
	}
	b, leave, err := s.bot(r, id)
	if err != nil {
		return nil, err
	}
	defer leave()
	if !b.polling.TryLock() {
		return nil, chat.Errorf(chat.CodeTooMany, "another request waits for the events of this device")
	}
	defer b.polling.Unlock()
	if after := q.Get("after"); after != "" {
		pos, err := chat.ParsePosition(after)
		if err == nil {
			err = b.handled(pos)
		}
		if err != nil {
			return nil, err
		}
	}
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Now().Add(wait + s.opt.Timeout))
	control.SetWriteDeadline(time.Now().Add(wait + s.opt.Timeout))
	if err := b.receive(r.Context(), s.bots.life, wait); err != nil {
		return nil, err
	}
	answer := map[string]any{"events": append([]event{}, b.pending...)}
	if n := len(b.pending); n > 0 {
		answer["next"] = b.pending[n-1].Position
	}
	return answer, nil
}

func waitOf(text string) (time.Duration, error) {
	if text == "" {
		return maxWait, nil
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < 0 || time.Duration(seconds)*time.Second > maxWait {
		return 0, chat.Errorf(chat.CodeBadPacket, "wait is a number of seconds, at most %d", maxWait/time.Second)
	}
	return time.Duration(seconds) * time.Second, nil
}

// handled lets go of what a caller has handled. b.polling is held.
func (b *bot) handled(pos chat.Position) error {
	if err := b.client.HandledTo(pos); err != nil {
		return err
	}
	for len(b.pending) > 0 && b.pending[0].pos <= pos {
		b.pending = b.pending[1:]
	}
	return nil
}

// receive fills pending when it is empty: it waits for one event, and takes
// what is there already. b.polling is held.
func (b *bot) receive(ctx, life context.Context, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	if len(b.pending) > 0 {
		return nil
	}
	for len(b.pending) < maxEvents {
		e, err := b.client.Receive(ctx)
		if err != nil && ctx.Err() != nil {
			return nil // the time is over, or nothing more is there
		}
		if err != nil {
			return err
		}
		if out, ok := eventOf(e); ok {
			out.pos = b.client.Received()
			out.Position = out.pos.String()
			b.pending = append(b.pending, out)
			cancel() // from here on only what is there
		}
	}
	return nil
}

// botRead says that the user has been shown a chat.
func (s *Server) botRead(_ http.ResponseWriter, r *http.Request, id caller) (any, error) {
	var ask struct {
		Peer     string `json:"peer"`
		Position string `json:"position"`
	}
	if err := body(r, &ask); err != nil {
		return nil, err
	}
	pos, err := chat.ParsePosition(ask.Position)
	if err != nil {
		return nil, err
	}
	b, leave, err := s.bot(r, id)
	if err != nil {
		return nil, err
	}
	defer leave()
	return nothing{}, b.client.MarkRead(ask.Peer, pos)
}

// botHistory gives a page of a chat, newest first.
func (s *Server) botHistory(_ http.ResponseWriter, r *http.Request, id caller) (any, error) {
	q, before, limit := r.URL.Query(), chat.ID{}, maxHistory
	var err error
	if text := q.Get("before"); text != "" {
		before, err = chat.ParseID(text)
	}
	if text := q.Get("limit"); text != "" && err == nil {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxHistory {
			err = chat.Errorf(chat.CodeTooMany, "a page has 1 to %d messages", maxHistory)
		}
	}
	if err == nil {
		_, err = chat.NewPeer("", q.Get("peer"))
	}
	if err != nil {
		return nil, err
	}
	b, leave, err := s.bot(r, id)
	if err != nil {
		return nil, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(r.Context(), s.opt.Timeout)
	defer cancel()
	page, err := b.client.History(ctx, q.Get("peer"), before, limit)
	if err != nil {
		return nil, err
	}
	list := []*message{}
	for i := range page.Messages {
		list = append(list, messageOf(&page.Messages[i]))
	}
	return map[string]any{"messages": list, "more": page.More, "delivered": page.Delivered.String(), "read": page.Read.String()}, nil
}
