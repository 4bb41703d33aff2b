package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/width"

	"github.com/rookery-chat/rookery/chat"
)

// Terminal sequences (ECMA-48).
const (
	ansiReset   = "\x1b[0m"
	ansiReverse = "\x1b[7m"
	ansiDim     = "\x1b[2m"
	ansiCyan    = "\x1b[36m"
	ansiRed     = "\x1b[31m"
)

// typingFor is for how long a peer who typed counts as typing.
const typingFor = 10 * time.Second

// maxBubbles is about how many messages the screen keeps.
const maxBubbles = 2000

// bubble is one message on the screen.
type bubble struct {
	id     chat.ID
	mine   bool
	text   string
	place  chat.Position // 0: not accepted yet
	failed string

	printed string // line by line: the ticks that were printed last
}

// chatView is what the screen shows, without a terminal: a pure function of what
// happened.
type chatView struct {
	me, peer  string
	connected bool
	trouble   string // why not
	notice    string
	online    bool
	known     bool // whether online says anything
	seen      time.Time
	typing    time.Time // when the peer was last heard to type; zero: does not
	bubbles   []bubble  // by id
	receipt   chat.Receipt
	more      bool // older messages are to be had
	loading   bool
	scroll    int // lines up from the newest
	line      lineEditor
}

// put adds a message, or brings the one with its id up to date.
func (v *chatView) put(b bubble) {
	i, found := v.find(b.id)
	if !found {
		v.bubbles = slices.Insert(v.bubbles, i, b)
		v.forget(i)
		return
	}
	if b.place > 0 {
		v.bubbles[i].place = b.place
	}
	if b.failed != "" {
		v.bubbles[i].failed = b.failed
	}
}

// set is put of a message whose text may be another one now.
func (v *chatView) set(b bubble) {
	v.put(b)
	if i, found := v.find(b.id); found {
		v.bubbles[i].text = b.text
	}
}

// update is put of a message that is there, else it reports false.
func (v *chatView) update(b bubble) bool {
	_, found := v.find(b.id)
	if found {
		v.put(b)
	}
	return found
}

// remove takes a message away.
func (v *chatView) remove(id chat.ID) {
	if i, found := v.find(id); found {
		v.bubbles = slices.Delete(v.bubbles, i, i+1)
	}
}

func (v *chatView) find(id chat.ID) (i int, found bool) {
	return slices.BinarySearchFunc(v.bubbles, id, func(b bubble, id chat.ID) int { return b.id.Compare(id) })
}

// forget lets go of the oldest when there are too many and a newest was added:
// history has them.
func (v *chatView) forget(added int) {
	if n := len(v.bubbles); n > maxBubbles && added > n/2 && v.scroll == 0 {
		v.bubbles, v.more = slices.Delete(v.bubbles, 0, n/4), true
	}
}

// advance takes in how far the peer has come.
func (v *chatView) advance(delivered, read chat.Position) {
	v.receipt.Delivered = max(v.receipt.Delivered, delivered)
	v.receipt.Read = max(v.receipt.Read, read)
}

// newestOfPeer returns the place of the peer's newest message.
func (v *chatView) newestOfPeer() chat.Position {
	for _, b := range slices.Backward(v.bubbles) {
		if !b.mine {
			return b.place
		}
	}
	return 0
}

// oldest returns the id before which older messages lie.
func (v *chatView) oldest() chat.ID {
	if len(v.bubbles) == 0 {
		return chat.ID{}
	}
	return v.bubbles[0].id
}

// scrollBy moves the view, and reports whether it stands at the top of what is
// there.
func (v *chatView) scrollBy(lines, columns, rows int) (top bool) {
	room := max(rows-3, 0)
	most := max(len(v.body(columns))-room, 0)
	v.scroll = min(max(v.scroll+lines, 0), most)
	return v.scroll == most && lines > 0
}

// render returns rows lines for a screen of so many columns. The last one is the
// line being written.
func (v *chatView) render(columns, rows int, now time.Time) []string {
	if columns < 20 || rows < 5 {
		return []string{fit("too small", columns)}
	}
	body := v.body(columns)
	room := rows - 3
	end := max(len(body)-v.scroll, 0)
	body = body[max(end-room, 0):end]
	lines := []string{v.header(columns)}
	for range room - len(body) {
		lines = append(lines, "")
	}
	lines = append(lines, body...)
	return append(lines, ansiDim+fit(v.status(now), columns)+ansiReset, v.input(columns))
}

func (v *chatView) header(columns int) string {
	left, right := " "+v.peer+v.presence(), v.me+" "
	if !v.connected {
		right = v.me + ", not connected "
	}
	gap := max(columns-textWidth(left)-textWidth(right), 1)
	return ansiReverse + fit(left+strings.Repeat(" ", gap)+right, columns) + ansiReset
}

func (v *chatView) presence() string {
	switch {
	case !v.connected || !v.known:
		return ""
	case v.online:
		return ", online"
	case v.seen.IsZero():
		return ", offline"
	}
	return ", last seen " + when(v.seen)
}

func (v *chatView) status(now time.Time) string {
	switch {
	case v.trouble != "":
		return v.trouble
	case v.loading:
		return "loading older messages"
	case v.scroll > 0:
		return "scrolled up: End goes back to the newest"
	case v.notice != "":
		return v.notice
	case !v.typing.IsZero() && now.Sub(v.typing) < typingFor:
		return v.peer + " is typing"
	}
	return ""
}

// input is the line being written; when it is long, its end.
func (v *chatView) input(columns int) string {
	text := v.line.text
	for textWidth(string(text)) > columns-3 {
		text = text[1:]
	}
	return "> " + string(text)
}

// body returns the lines of all messages.
func (v *chatView) body(columns int) []string {
	var lines []string
	if len(v.bubbles) > 0 && !v.more {
		lines = append(lines, ansiDim+fit("the beginning of this chat", columns)+ansiReset)
	}
	var day string
	for i := range v.bubbles {
		b := &v.bubbles[i]
		at := b.id.Time().Local()
		if d := at.Format("Mon 2 Jan 2006"); d != day {
			day = d
			lines = append(lines, ansiDim+fit("-- "+d+" --", columns)+ansiReset)
		}
		name := v.peer
		if b.mine {
			name = "you"
		}
		prefix := at.Format("15:04 ") + name + ": "
		wrapped := wrap(prefix+b.text, columns-12)
		plain, coloured := v.ticks(b)
		last := len(wrapped) - 1
		if plain != "" {
			wrapped[last] += " " + coloured
		}
		lines = append(lines, wrapped...)
	}
	return lines
}

// ticks says how far a message of one's own has come, in words too where the
// colour says it.
func (v *chatView) ticks(b *bubble) (plain, coloured string) {
	switch {
	case !b.mine:
		return "", ""
	case b.failed != "":
		plain = "failed: " + b.failed
		return plain, ansiRed + plain + ansiReset
	case b.place == 0:
		return "...", ansiDim + "..." + ansiReset
	}
	switch chat.StatusOf(b.place, v.receipt) {
	case chat.Read:
		return "✓✓ read", ansiCyan + "✓✓ read" + ansiReset
	case chat.Delivered:
		return "✓✓", "✓✓"
	}
	return "✓", "✓"
}

func when(t time.Time) string {
	t, now := t.Local(), time.Now()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04")
	}
	return t.Format("2 Jan 15:04")
}

// runeWidth is how many columns a rune takes (Unicode annex 11).
func runeWidth(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case r < 0x1100:
		return 1
	}
	if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
		return 2
	}
	return 1
}

func textWidth(s string) (n int) {
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// fit cuts a text to so many columns.
func fit(s string, columns int) string {
	n := 0
	for i, r := range s {
		if n += runeWidth(r); n > columns {
			return s[:i]
		}
	}
	return s
}

// wrap breaks a text into lines of at most so many columns, at spaces where that
// is possible. It returns at least one line.
func wrap(s string, columns int) []string {
	var lines []string
	for textWidth(s) > columns {
		head := fit(s, columns)
		if head == "" {
			break // a rune wider than the line
		}
		if i := strings.LastIndexByte(head, ' '); i > 0 && s[len(head)] != ' ' {
			head = head[:i]
		}
		lines = append(lines, head)
		s = strings.TrimPrefix(s[len(head):], " ")
	}
	return append(lines, s)
}

// frameOf returns the bytes that draw lines over the whole screen and put the
// cursor behind the last one.
func frameOf(lines []string) string {
	var b strings.Builder
	b.WriteString("\x1b[?25l")
	for i, line := range lines {
		fmt.Fprintf(&b, "\x1b[%d;1H%s\x1b[K", i+1, line)
	}
	b.WriteString("\x1b[J\x1b[?25h")
	return b.String()
}
