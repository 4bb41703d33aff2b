package cli

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// key is one key of a terminal in raw mode: a rune, or one of those below.
type key rune

// Keys that are no text. They lie above Unicode.
const (
	keyEnter key = unicode.MaxRune + 1 + iota
	keyBackspace
	keyKillLine // Ctrl-U
	keyUp
	keyDown
	keyPageUp
	keyPageDown
	keyHome
	keyEnd
	keyRedraw // Ctrl-L
	keyQuit   // Ctrl-C, or Ctrl-D
	keyOther  // known to be a key, and of no use here
)

// sequences are what keys send after an escape.
var sequences = map[string]key{
	"[A": keyUp, "[B": keyDown, "OA": keyUp, "OB": keyDown,
	"[5~": keyPageUp, "[6~": keyPageDown,
	"[H": keyHome, "[F": keyEnd, "[1~": keyHome, "[4~": keyEnd, "OH": keyHome, "OF": keyEnd,
}

var controls = map[byte]key{
	'\r': keyEnter, '\n': keyEnter, 0x7f: keyBackspace, 0x08: keyBackspace,
	0x15: keyKillLine, 0x0c: keyRedraw, 0x03: keyQuit, 0x04: keyQuit,
	0x10: keyUp, 0x0e: keyDown, '\t': ' ',
}

// maxSequence is the longest escape sequence that is waited for.
const maxSequence = 16

// nextKey takes one key off the bytes that a terminal sent and returns how many
// they were; 0: the rest of it has not come yet.
func nextKey(in []byte) (k key, n int) {
	switch {
	case len(in) == 0:
		return 0, 0
	case in[0] == 0x1b:
		return nextSequence(in)
	case in[0] < 0x20 || in[0] == 0x7f:
		if k, ok := controls[in[0]]; ok {
			return k, 1
		}
		return keyOther, 1
	case !utf8.FullRune(in):
		return 0, 0
	}
	r, n := utf8.DecodeRune(in)
	if r == utf8.RuneError || !unicode.IsPrint(r) && r != '\u200d' {
		return keyOther, n
	}
	return key(r), n
}

// nextSequence takes an escape sequence: ESC, "[" or "O", parameters, a final
// byte from 0x40. A lone ESC stands before another key and is passed over.
func nextSequence(in []byte) (key, int) {
	if len(in) == 1 {
		return 0, 0
	}
	if in[1] != '[' && in[1] != 'O' {
		return keyOther, 1
	}
	for i := 2; i < len(in); i++ {
		if in[i] >= 0x40 || i == maxSequence {
			if k, ok := sequences[string(in[1:i+1])]; ok {
				return k, i + 1
			}
			return keyOther, i + 1
		}
	}
	return 0, 0
}

// lineEditor is the line being written.
type lineEditor struct{ text []rune }

// press takes a key, and reports whether it changed the line.
func (l *lineEditor) press(k key) bool {
	switch {
	case k == keyBackspace && len(l.text) > 0:
		l.text = l.text[:len(l.text)-1]
	case k == keyKillLine && len(l.text) > 0:
		l.text = nil
	case k <= unicode.MaxRune:
		l.text = append(l.text, rune(k))
	default:
		return false
	}
	return true
}

// take returns the line and empties it.
func (l *lineEditor) take() string {
	s := strings.TrimSpace(string(l.text))
	l.text = nil
	return s
}
