//go:build js

package main

import (
	"context"
	"errors"
	"fmt"
	"syscall/js"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client/e2ee"
)

// names are what the other side tells errors by.
var names = []struct {
	err  error
	name string
}{
	{e2ee.ErrNoKeys, "no_keys"}, {e2ee.ErrChanged, "changed"}, {e2ee.ErrOwnIdentity, "own_identity"}, {e2ee.ErrPlain, "plain"},
	{e2ee.ErrForged, "forged"}, {e2ee.ErrReplayed, "replayed"}, {e2ee.ErrMoved, "moved"}, {e2ee.ErrNoKey, "no_key"},
	{e2ee.ErrNotMember, "not_member"},
	{e2ee.ErrPassphrase, "passphrase"}, {e2ee.ErrDamaged, "damaged"}, {e2ee.ErrAttachment, "attachment"},
	{e2ee.ErrLinkCode, "link_code"}, {e2ee.ErrLinkIdentity, "link_identity"}, {e2ee.ErrLinked, "linked"}, {e2ee.ErrNotLinked, "not_linked"},
	{e2ee.ErrNoHistory, "no_history"},
}

// problem is an error as the other side reads it: its reason, its text, and what
// the link threw, where it came from there.
func problem(err error) map[string]any {
	p := map[string]any{"reason": "", "text": err.Error(), "cause": js.Undefined()}
	for _, n := range names {
		if errors.Is(err, n.err) {
			p["reason"] = n.name
			break
		}
	}
	var thrown js.Error
	if errors.As(err, &thrown) {
		p["cause"] = thrown.Value
	}
	return p
}

func bytesOf(v js.Value) []byte {
	b := make([]byte, v.Length())
	js.CopyBytesToGo(b, v)
	return b
}

func toJS(b []byte) js.Value {
	v := js.Global().Get("Uint8Array").New(len(b))
	js.CopyBytesToJS(v, b)
	return v
}

// plain is a function that returns at once: {value} or {error}.
func plain(f func([]js.Value) (any, error)) js.Func {
	return js.FuncOf(func(_ js.Value, args []js.Value) any { return outcome(f(args)) })
}

func outcome(value any, err error) map[string]any {
	if err != nil {
		return map[string]any{"error": problem(err)}
	}
	return map[string]any{"value": value}
}

// async is a function that may wait: its last argument is called with what a
// plain one returns.
func async(f func([]js.Value) (any, error)) js.Func {
	return js.FuncOf(func(_ js.Value, args []js.Value) any {
		last := len(args) - 1
		go func() { args[last].Invoke(outcome(f(args[:last]))) }()
		return nil
	})
}

// await waits for a promise.
func await(ctx context.Context, promise js.Value) (js.Value, error) {
	type settled struct {
		value js.Value
		err   error
	}
	done := make(chan settled, 1)
	var resolved, rejected js.Func
	release := func() { resolved.Release(); rejected.Release() }
	resolved = js.FuncOf(func(_ js.Value, args []js.Value) any {
		release()
		done <- settled{value: args[0]}
		return nil
	})
	rejected = js.FuncOf(func(_ js.Value, args []js.Value) any {
		release()
		done <- settled{err: thrown(args[0])}
		return nil
	})
	promise.Call("then", resolved, rejected)
	select {
	case s := <-done:
		return s.value, s.err
	case <-ctx.Done():
		return js.Undefined(), ctx.Err()
	}
}

// thrown is what a promise was rejected with. A code of the server's stays one.
func thrown(v js.Value) error {
	if code := v.Get("code"); code.Type() == js.TypeNumber {
		return fmt.Errorf("%w: %w", chat.Errorf(chat.Code(code.Int()), "%s", v.Get("message").String()), js.Error{Value: v})
	}
	return js.Error{Value: v}
}
