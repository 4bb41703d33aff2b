package nearest

import "testing"

func TestHint(t *testing.T) {
	known := []string{"serve", "send", "tail", "session.heartbeat"}
	for _, c := range []struct{ word, want string }{
		{"srve", `; did you mean "serve"?`},
		{"SEND", `; did you mean "send"?`},
		{"session.hartbeat", `; did you mean "session.heartbeat"?`},
		{"xyzzy", ""},
		{"", ""},
	} {
		if got := Hint(c.word, known); got != c.want {
			t.Errorf("Hint(%q) = %q, want %q", c.word, got, c.want)
		}
	}
}
