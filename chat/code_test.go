package chat_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

func TestCodes(t *testing.T) {
	all := chat.Codes()
	if len(all) < 30 || !slices.IsSorted(all) || all[0] != chat.CodeOK || all[len(all)-1] != chat.CodeTooManyDevices {
		t.Errorf("%d", all)
	}
	names := map[string]chat.Code{}
	name := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	for _, c := range all {
		if old, taken := names[c.String()]; taken || !name.MatchString(c.String()) {
			t.Errorf("code %d is named %q, as is %d", uint16(c), c, uint16(old))
		}
		names[c.String()] = c
		if a := c.Action(); a < chat.ActionStop || a > chat.ActionLogin {
			t.Errorf("%s has the action %d", c, a)
		}
	}
}

// A client meets codes that were made after it.
func TestUnknownCodes(t *testing.T) {
	for c, want := range map[chat.Code]chat.Action{99: chat.ActionStop, 199: chat.ActionStop, 299: chat.ActionReconnect, 60000: chat.ActionReconnect} {
		if c.Action() != want || c.String() != fmt.Sprintf("code_%d", c) {
			t.Errorf("%s: %d", c, c.Action())
		}
	}
}

func TestActions(t *testing.T) {
	for c, want := range map[chat.Code]chat.Action{
		chat.CodeOverloaded: chat.ActionRetry, chat.CodeIDConflict: chat.ActionStop, chat.CodeExpired: chat.ActionLogin,
		chat.CodeDraining: chat.ActionReconnect, chat.CodeReplaced: chat.ActionStop, chat.CodeUnknown: chat.ActionReconnect,
	} {
		if c.Action() != want {
			t.Errorf("%s: %d", c, c.Action())
		}
	}
}

func TestErrors(t *testing.T) {
	err := chat.Errorf(chat.CodeTooLarge, "%d bytes", 9)
	err.RetryAfter = time.Second
	if err.Error() != "too_large: 9 bytes" || (&chat.Error{Code: chat.CodeIdle}).Error() != "idle" {
		t.Errorf("%q", err)
	}
	wrapped := fmt.Errorf("send: %w", err)
	if !errors.Is(wrapped, &chat.Error{Code: chat.CodeTooLarge}) || errors.Is(wrapped, &chat.Error{Code: chat.CodeIdle}) || errors.Is(wrapped, context.Canceled) {
		t.Error("errors.Is does not go by the code")
	}
	for want, err := range map[chat.Code]error{chat.CodeTooLarge: wrapped, chat.CodeInternal: context.Canceled, chat.CodeOK: nil} {
		if got := chat.CodeOf(err); got != want {
			t.Errorf("%v has the code %s, not %s", err, got, want)
		}
	}
}

func ExampleError() {
	err := fmt.Errorf("alice to bob: %w", &chat.Error{Code: chat.CodeOverloaded, RetryAfter: 100 * time.Millisecond})
	var e *chat.Error
	if errors.As(err, &e) && e.Code.Action() == chat.ActionRetry {
		fmt.Println("again in", e.RetryAfter)
	}
	// Output: again in 100ms
}
