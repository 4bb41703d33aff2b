package cli

import (
	"testing"

	"github.com/rookery-chat/rookery/client/content"
)

// So many messages wait for somebody's keys, and no more.
func TestWaitingIsBounded(t *testing.T) {
	full := &talk{peer: "bob", waiting: make([]waitingMessage, waitingMost)}
	if err := full.say(t.Context(), content.Body{Kind: content.KindText, Text: "one more"}); err == nil || len(full.waiting) != waitingMost {
		t.Errorf("%d wait: %v", len(full.waiting), err)
	}
}
