package content

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

var update = flag.Bool("update", false, "write docs/vectors/content.json")

const vectorsFile = "../../docs/vectors/content.json"

// vectors are what every implementation makes of the same bytes.
type vectors struct {
	Bodies    []bodyVector     `json:"bodies"`
	Tolerated []bytesVector    `json:"tolerated"`
	Newer     []bytesVector    `json:"newer"`
	Refused   []bytesVector    `json:"refused"`
	Timelines []timelineVector `json:"timelines"`
}

type bodyVector struct {
	Name    string `json:"name"`
	Hex     string `json:"hex"`
	Kind    Kind   `json:"kind"`
	Text    string `json:"text"`
	Target  string `json:"target"` // empty: none
	Seconds uint32 `json:"seconds"`
}

type bytesVector struct {
	Name string `json:"name"`
	Hex  string `json:"hex"`
	As   string `json:"as,omitempty"`

	Strict bool `json:"strict,omitempty"` // this implementation refuses it, others may take it
}

type timelineVector struct {
	Name  string       `json:"name"`
	Put   []putVector  `json:"put"`
	Shows []showVector `json:"shows"`
	Timer uint32       `json:"timer"`
}

type putVector struct {
	ID   string `json:"id"`
	From string `json:"from"`
	Hex  string `json:"hex"`
}

type showVector struct {
	ID        string      `json:"id"`
	Kind      Kind        `json:"kind"`
	Text      string      `json:"text"`
	Target    string      `json:"target"`
	Edited    bool        `json:"edited"`
	Deleted   bool        `json:"deleted"`
	Reactions [][2]string `json:"reactions"`
}

var vectorNodes = map[chat.User]chat.Node{"alice": {0x83, 1, 2, 3, 4, 5}, "bob": {0x5d, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4}, "carol": {0x11, 7, 7, 7, 7, 7}}

// at is the id of a message that a user writes in a second of the story.
func at(second int, from chat.User) chat.ID {
	return chat.NewID(chat.Ticks(time.Date(2026, 1, 2, 3, 4, second, 0, time.UTC)), 0x1234, vectorNodes[from])
}

func idText(id chat.ID) string {
	if id.Zero() {
		return ""
	}
	return id.String()
}

// put is a message of a story.
type put struct {
	second int
	from   chat.User
	body   Body
}

type story struct {
	name string
	puts []put
}

func stories() []story {
	first := put{1, "alice", Body{Kind: KindText, Text: "helo"}}
	target := at(1, "alice")
	edit := func(second int, from chat.User, text string) put {
		return put{second, from, Body{Kind: KindEdit, Text: text, Target: target}}
	}
	react := func(second int, from chat.User, text string) put {
		return put{second, from, Body{Kind: KindReaction, Text: text, Target: target}}
	}
	remove := func(second int, from chat.User) put {
		return put{second, from, Body{Kind: KindDelete, Target: target}}
	}
	return []story{
		{"a reply", []put{first, {2, "bob", Body{Kind: KindText, Text: "hi", Target: target}}}},
		{"an edit", []put{first, edit(3, "alice", "hello")}},
		{"the newest edit holds", []put{first, edit(3, "alice", "hello"), edit(5, "alice", "hello, bob"), edit(4, "alice", "between")}},
		{"nobody edits what another has sent", []put{first, edit(3, "bob", "forged")}},
		{"an edit from before its message", []put{first, edit(0, "alice", "no")}},
		{"a deletion", []put{first, react(2, "bob", "👍"), remove(4, "alice")}},
		{"nobody deletes what another has sent", []put{first, remove(4, "bob")}},
		{"a deletion holds for ever", []put{first, remove(4, "alice"), edit(5, "alice", "back"), react(6, "bob", "👍")}},
		{"reactions, one a user", []put{first, react(2, "bob", "👍"), react(3, "carol", "🎉"), react(4, "bob", "❤️")}},
		{"a reaction taken back", []put{first, react(2, "bob", "👍"), react(3, "bob", "")}},
		{"an edit keeps reply and reactions", []put{first, {2, "bob", Body{Kind: KindText, Text: "yes", Target: target}},
			{3, "alice", Body{Kind: KindReaction, Text: "👀", Target: at(2, "bob")}}, {4, "bob", Body{Kind: KindEdit, Text: "no", Target: at(2, "bob")}}}},
		{"the newest timer holds", []put{first, {2, "alice", Body{Kind: KindTimer, Seconds: 3600}}, {4, "bob", Body{Kind: KindTimer, Seconds: 60}}, {3, "alice", Body{Kind: KindTimer}}}},
		{"what is not known changes nothing", []put{first, {2, "bob", Body{}}}},
		{"a change of what is not here", []put{edit(3, "alice", "hello")}},
	}
}

func (b Body) bytes() []byte {
	if b.Kind == KindNewer {
		return []byte{0x92, 1, 0x7f}
	}
	out, err := b.Append(nil)
	if err != nil {
		panic(err)
	}
	return out
}

// told puts messages into a timeline and returns what it shows.
func told(puts []putVector) (shows []showVector, timer uint32) {
	t := NewTimeline()
	for _, p := range puts {
		id, err := chat.ParseID(p.ID)
		if err != nil {
			panic(err)
		}
		b, err := hex.DecodeString(p.Hex)
		if err != nil {
			panic(err)
		}
		body, err := Parse(b)
		if err != nil {
			panic(err)
		}
		t.Put(chat.Message{ID: id, From: chat.User(p.From)}, body)
	}
	shows = []showVector{}
	for _, it := range t.Items() {
		s := showVector{
			ID: it.ID.String(), Kind: it.Body.Kind, Text: it.Body.Text, Target: idText(it.Body.Target),
			Edited: !it.Edited.Zero(), Deleted: it.Deleted, Reactions: [][2]string{},
		}
		for _, r := range it.Reactions {
			if r.Text != "" {
				s.Reactions = append(s.Reactions, [2]string{string(r.User), r.Text})
			}
		}
		shows = append(shows, s)
	}
	return shows, uint32(t.Timer() / time.Second)
}

func makeVectors() (v vectors) {
	body := func(name string, b Body) {
		v.Bodies = append(v.Bodies, bodyVector{name, hex.EncodeToString(b.bytes()), b.Kind, b.Text, idText(b.Target), b.Seconds})
	}
	target := at(1, "alice")
	body("text", Body{Kind: KindText, Text: "hi"})
	body("empty", Body{Kind: KindText})
	body("reply", Body{Kind: KindText, Text: "hello", Target: target})
	body("disappears", Body{Kind: KindText, Text: "soon gone", Seconds: 3600})
	body("reply that disappears", Body{Kind: KindText, Text: "hello", Target: target, Seconds: 604800})
	body("long", Body{Kind: KindText, Text: string(bytes.Repeat([]byte("é"), 200))})
	body("edit", Body{Kind: KindEdit, Text: "hello, bob", Target: target})
	body("edit to nothing", Body{Kind: KindEdit, Target: target})
	body("delete", Body{Kind: KindDelete, Target: target})
	body("reaction", Body{Kind: KindReaction, Text: "👩🏽‍🚀", Target: target})
	body("reaction taken back", Body{Kind: KindReaction, Target: target})
	body("timer", Body{Kind: KindTimer, Seconds: 86400})
	body("timer off", Body{Kind: KindTimer})
	v.Tolerated = []bytesVector{
		{Name: "wide integers", Hex: "93cd0001cc01a26869", As: "930101a26869"},
		{Name: "nil text", Hex: "940101c0c0", As: "920101"},
		{Name: "more elements", Hex: "960101a26869c00093c003a178", As: "930101a26869"},
	}
	v.Newer = []bytesVector{
		{Name: "another version", Hex: "9202a26869"}, {Name: "another version, other elements", Hex: "9309810102a178"},
		{Name: "an unknown kind", Hex: "930107a26869"}, {Name: "no kind", Hex: "9101"},
	}
	v.Refused = []bytesVector{
		{Name: "nothing"}, {Name: "no array", Hex: "a26869"}, {Name: "an empty array", Hex: "90"}, {Name: "cut off", Hex: "930101a268"}, {Name: "two", Hex: "920101920101"},
		{Name: "a text that is bin", Hex: "930101c4026869"}, {Name: "a kind that is a float", Hex: "9201cb3ff8000000000000"}, {Name: "not UTF-8", Hex: "930101a2c328", Strict: true},
		{Name: "a short target", Hex: "940102a26869c401aa"}, {Name: "an edit of nothing", Hex: "930102a26869"}, {Name: "a deletion of nothing", Hex: "920103"},
		{Name: "a long reaction", Hex: hex.EncodeToString(longReaction())}, {Name: "negative seconds", Hex: "950105a0c0ff"},
	}
	for _, s := range stories() {
		t := timelineVector{Name: s.name}
		for _, p := range s.puts {
			t.Put = append(t.Put, putVector{at(p.second, p.from).String(), string(p.from), hex.EncodeToString(p.body.bytes())})
		}
		t.Shows, t.Timer = told(t.Put)
		v.Timelines = append(v.Timelines, t)
	}
	return v
}

func longReaction() []byte {
	id := at(1, "alice")
	text := bytes.Repeat([]byte("x"), MaxReaction+1)
	b := append([]byte{0x94, 1, 4, 0xd9, byte(len(text))}, text...)
	return append(append(b, 0xc4, 16), id[:]...)
}

func render(v vectors) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func TestVectorsAreCurrent(t *testing.T) {
	if *update {
		if err := os.WriteFile(vectorsFile, render(makeVectors()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(vectorsFile)
	if err != nil || !bytes.Equal(have, render(makeVectors())) {
		t.Errorf("%s is not what the code makes: go test ./client/content -update (%v)", vectorsFile, err)
	}
}

func loadVectors(t *testing.T) (v vectors) {
	t.Helper()
	b, err := os.ReadFile(vectorsFile)
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBodies(t *testing.T) {
	v := loadVectors(t)
	for _, x := range v.Bodies {
		b, err := Parse(unhex(t, x.Hex))
		if err != nil || b.Kind != x.Kind || b.Text != x.Text || idText(b.Target) != x.Target || b.Seconds != x.Seconds {
			t.Errorf("%s is read as %+v, %v", x.Name, b, err)
		}
		if again := hex.EncodeToString(b.bytes()); again != x.Hex {
			t.Errorf("%s: %s becomes %s", x.Name, x.Hex, again)
		}
	}
	for _, x := range v.Tolerated {
		b, err := Parse(unhex(t, x.Hex))
		if err != nil || hex.EncodeToString(b.bytes()) != x.As {
			t.Errorf("%s: %+v, %v", x.Name, b, err)
		}
	}
	for _, x := range v.Newer {
		if b, err := Parse(unhex(t, x.Hex)); err != nil || b.Kind != KindNewer {
			t.Errorf("%s: %+v, %v", x.Name, b, err)
		}
	}
	for _, x := range v.Refused {
		if b, err := Parse(unhex(t, x.Hex)); chat.CodeOf(err) != chat.CodeBadPacket {
			t.Errorf("%s is taken: %+v, %v", x.Name, b, err)
		}
	}
}

// What a timeline shows does not depend on the order in which it hears of things.
func TestTimelineVectors(t *testing.T) {
	for _, x := range loadVectors(t).Timelines {
		for turn := range len(x.Put) {
			puts := slices.Concat(x.Put[turn:], x.Put[:turn])
			for range 2 {
				shows, timer := told(append(puts, puts...))
				if got, want := render(vectors{Timelines: []timelineVector{{Shows: shows, Timer: timer}}}),
					render(vectors{Timelines: []timelineVector{{Shows: x.Shows, Timer: x.Timer}}}); !bytes.Equal(got, want) {
					t.Errorf("%s, %v: %s\nwant %s", x.Name, puts, got, want)
				}
				slices.Reverse(puts)
			}
		}
	}
}
