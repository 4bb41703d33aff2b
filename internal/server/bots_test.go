package server

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/config"
)

// service is a program that speaks HTTP.
type service struct {
	t     *testing.T
	base  string
	token string
}

func newService(t *testing.T, s *Server, user string) *service {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return &service{t, "http://" + s.WebAddr().String(), token(t, s, user, "", time.Hour)}
}

// call asks, and wants a status.
func (b *service) call(want int, method, path, body string) (answer map[string]any) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.base+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+b.token)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	if res.StatusCode != want {
		b.t.Fatalf("%s %s: %d %s", method, path, res.StatusCode, text)
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		b.t.Fatal(err)
	}
	return answer
}

func (b *service) id() string {
	b.t.Helper()
	return b.call(200, "POST", "/v1/ids", `{"count":1}`)["ids"].([]any)[0].(string)
}

// messages asks until there is one, and returns the texts and where they end.
func (b *service) messages(after string) (texts []string, next string) {
	b.t.Helper()
	for len(texts) == 0 {
		answer := b.call(200, "GET", "/v1/events?wait=20&after="+after, "")
		for _, e := range answer["events"].([]any) {
			if e := e.(map[string]any); e["type"] == "message" {
				var m struct{ Content []byte }
				text, _ := json.Marshal(e["message"])
				json.Unmarshal(text, &m)
				texts = append(texts, string(m.Content))
			}
		}
		next, _ = answer["next"].(string)
		if len(texts) == 0 {
			after = next
		}
	}
	return texts, next
}

// TestBotsTalk has two services talk, one of which does not say what it has
// handled, and loses an answer.
func TestBotsTalk(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	ann, bob := newService(t, s, "ann"), newService(t, s, "bob")
	bob.call(200, "GET", "/v1/events?wait=0", "")
	id := ann.id()
	first := ann.call(200, "PUT", "/v1/messages/"+id, `{"to":"bob","content":"aGVsbG8="}`)
	if first["id"] != id || first["place"] == "0" {
		t.Errorf("accepted as %v", first)
	}
	ann.call(200, "PUT", "/v1/messages/"+id, `{"to":"bob","content":"aGVsbG8="}`) // the answer was lost
	for range 2 {
		if texts, _ := bob.messages(""); len(texts) != 1 || texts[0] != "hello" {
			t.Errorf("before it was handled: %q", texts)
		}
	}
	_, next := bob.messages("")
	bob.call(200, "POST", "/v1/read", `{"peer":"ann","position":"`+next+`"}`)
	ann.call(200, "PUT", "/v1/messages/"+ann.id(), `{"to":"bob","content":"YWdhaW4="}`)
	if texts, _ := bob.messages(next); len(texts) != 1 || texts[0] != "again" {
		t.Errorf("the next: %q", texts)
	}
	page := ann.call(200, "GET", "/v1/history?peer=bob&limit=10", "")
	if list := page["messages"].([]any); len(list) != 2 {
		t.Errorf("%d messages are in history", len(list))
	}
	for { // the read mark becomes a receipt
		if ann.call(200, "GET", "/v1/history?peer=bob", "")["read"] == first["place"] {
			break
		}
	}
}

// What has no position of its own, such as the end of an empty inbox, is given
// until it is said to be handled, and can be said to be.
func TestBotLetsGoOfWhatHasNoPosition(t *testing.T) {
	bob := newService(t, startServer(t, t.TempDir(), nil), "bob")
	answer := bob.call(200, "GET", "/v1/events?wait=20", "")
	if first := answer["events"].([]any)[0].(map[string]any); first["type"] != "caught_up" {
		t.Fatalf("%v", answer)
	}
	next, _ := answer["next"].(string)
	if answer = bob.call(200, "GET", "/v1/events?wait=0&after="+next, ""); next == "" || len(answer["events"].([]any)) != 0 {
		t.Errorf("after %q: %v", next, answer)
	}
}

// TestBotComesBack holds that what a service has not said to be handled is given
// to the next life of its session, and what it has is not.
func TestBotComesBack(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir, nil)
	ann, bob := newService(t, s, "ann"), newService(t, s, "bob")
	bob.call(200, "GET", "/v1/events?wait=0", "")
	ann.call(200, "PUT", "/v1/messages/"+ann.id(), `{"to":"bob","content":"b25l"}`)
	_, next := bob.messages("")
	ann.call(200, "PUT", "/v1/messages/"+ann.id(), `{"to":"bob","content":"dHdv"}`)
	if texts, _ := bob.messages(next); len(texts) != 1 || texts[0] != "two" {
		t.Errorf("the second: %q", texts)
	}
	awaitMark(t, s, "bob", next)
	stopServer(t, s)
	s = startServer(t, dir, nil)
	if texts, _ := newService(t, s, "bob").messages(""); len(texts) != 1 || texts[0] != "two" {
		t.Errorf("after a restart: %q", texts)
	}
}

// awaitMark waits until what a service has said is in the store.
func awaitMark(t *testing.T, s *Server, user chat.User, next string) {
	t.Helper()
	for kept := ""; kept != next; {
		cursors, err := s.store.Cursors(t.Context(), user)
		must(t, err)
		for _, c := range cursors {
			kept = c.Position.String()
		}
	}
}

// In a group a message's place is the group's. What a service handles is told by
// its position in the user's chain.
func TestBotInAGroup(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir, nil)
	bob, ann := newService(t, s, "bob"), newService(t, s, "ann")
	founder, err := client.Dial(t.Context(), client.Options{
		URL: "ws://" + s.Addr().String(), User: "carol", Device: "phone",
		Token: func(context.Context) (string, error) { return token(t, s, "carol", "phone", time.Hour), nil },
	})
	must(t, err)
	group, sent, err := founder.CreateGroup(t.Context(), nil, "ann", "bob")
	must(t, err)
	must(t, sent.Durable(t.Context()))
	_, next := bob.messages("") // that there is a group
	tell := func(to, text string) string {
		body, _ := json.Marshal(map[string]any{"to": to, "content": []byte(text)})
		return ann.call(200, "PUT", "/v1/messages/"+ann.id(), string(body))["place"].(string)
	}
	for i, to := range []string{"bob", "bob", group, "bob", group, group} {
		text, texts := strconv.Itoa(i), []string(nil)
		place := tell(to, text)
		if texts, next = bob.messages(next); len(texts) != 1 || texts[0] != text {
			t.Errorf("message %d came as %q", i, texts)
		}
		if to == group {
			bob.call(200, "POST", "/v1/read", `{"peer":"`+group+`","position":"`+place+`"}`)
		}
	}
	if answer := bob.call(200, "GET", "/v1/events?wait=0&after="+next, ""); len(answer["events"].([]any)) != 0 {
		t.Errorf("all is handled, and comes again: %v", answer)
	}
	awaitMark(t, s, "bob", next)
	tell(group, "later")
	must(t, founder.Close(t.Context()))
	stopServer(t, s)
	s = startServer(t, dir, nil)
	if texts, _ := newService(t, s, "bob").messages(""); len(texts) != 1 || texts[0] != "later" {
		t.Errorf("after a restart: %q", texts)
	}
}

func TestBotRefusals(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Web.Bots = 2 })
	ann := newService(t, s, "ann")
	id := ann.id()
	for _, c := range []struct {
		status             int
		method, path, body string
		code               chat.Code
	}{
		{400, "PUT", "/v1/messages/x", `{"to":"bob"}`, chat.CodeBadID},
		{400, "PUT", "/v1/messages/" + id, `{"to":"b/b"}`, chat.CodeBadName},
		{400, "PUT", "/v1/messages/" + id, `{"to":"bob","ttl":-1}`, chat.CodeBadTTL},
		{400, "PUT", "/v1/messages/" + id, `{"to":"bob","content":"!"}`, chat.CodeBadPacket},
		{413, "PUT", "/v1/messages/" + id, `{"to":"bob","content":"` + strings.Repeat("AAAA", 22_000) + `"}`, chat.CodeTooLarge},
		{413, "PUT", "/v1/messages/" + id, `{"to":"bob","content":"` + strings.Repeat("AAAA", 60_000) + `"}`, chat.CodeTooLarge},
		{400, "PUT", "/v1/messages/00000000-0000-1000-8000-010000000001", `{"to":"bob"}`, chat.CodeIDNode},
		{429, "POST", "/v1/ids", `{"count":101}`, chat.CodeTooMany}, {429, "POST", "/v1/ids", `{"count":0}`, chat.CodeTooMany},
		{400, "GET", "/v1/events?wait=26", "", chat.CodeBadPacket}, {400, "GET", "/v1/events?after=x", "", chat.CodeBadPosition},
		{400, "GET", "/v1/events?after=9999", "", chat.CodeBadPosition}, {400, "GET", "/v1/events?device=a/b", "", chat.CodeBadName},
		{429, "GET", "/v1/history?peer=bob&limit=101", "", chat.CodeTooMany}, {400, "GET", "/v1/history", "", chat.CodeBadName},
		{400, "POST", "/v1/read", `{"peer":"bob","position":"x"}`, chat.CodeBadPosition},
	} {
		if got := ann.call(c.status, c.method, c.path, c.body); got["code"] != c.code.String() {
			t.Errorf("%s %s %.60s: %v, want %v", c.method, c.path, c.body, got, c.code)
		}
	}
	newService(t, s, "bob").id()
	if got := newService(t, s, "carol").call(503, "POST", "/v1/ids", `{"count":1}`); got["code"] != "busy" {
		t.Errorf("a session too many: %v", got)
	}
}
