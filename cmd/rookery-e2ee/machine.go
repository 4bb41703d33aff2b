//go:build js

package main

import (
	"context"
	"fmt"
	"syscall/js"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client/e2ee"
	"github.com/rookery-chat/rookery/packet"
)

// machine is an open machine with the seals that wait for an id.
type machine struct {
	*e2ee.Machine
	user string
}

// open (user, device, link, store or null, options) returns a machine.
func open(args []js.Value) (any, error) {
	var keys e2ee.Storage
	if !args[3].IsNull() {
		keys = store{args[3]}
	}
	user := args[0].String()
	m, err := e2ee.OpenMachine(user, args[1].String(), &link{host: args[2]}, keys, options(args[4]))
	if err != nil {
		return nil, err
	}
	o := machine{m, user}
	return map[string]any{
		"start":          plain(o.start),
		"connected":      plain(func([]js.Value) (any, error) { m.Connected(); return nil, nil }),
		"truncated":      plain(func([]js.Value) (any, error) { m.Truncated(); return nil, nil }),
		"keysLow":        plain(func([]js.Value) (any, error) { m.KeysLow(); return nil, nil }),
		"next":           plain(func([]js.Value) (any, error) { return event(m.Next()), nil }),
		"handled":        plain(func([]js.Value) (any, error) { m.Handled(); return nil, nil }),
		"waiting":        plain(func([]js.Value) (any, error) { return m.Waiting(), nil }),
		"readable":       plain(o.readable),
		"verify":         async(func(a []js.Value) (any, error) { return nil, m.Verify(a[0].String(), a[1].Bool()) }),
		"take":           async(o.take),
		"ready":          async(o.ready),
		"sync":           async(func([]js.Value) (any, error) { return nil, m.Sync() }),
		"published":      async(func([]js.Value) (any, error) { return nil, m.Published(context.Background()) }),
		"accept":         async(func(a []js.Value) (any, error) { return nil, m.Accept(context.Background(), a[0].String()) }),
		"removeDevice":   async(func(a []js.Value) (any, error) { return nil, m.RemoveDevice(context.Background(), a[0].String()) }),
		"devicesChanged": async(func([]js.Value) (any, error) { return nil, m.DevicesChanged(context.Background()) }),
		"timer":          plain(func(a []js.Value) (any, error) { return int(m.Timer(a[0].String()).Seconds()), nil }),
		"offerLink":      async(o.offerLink),
		"withdrawLink":   plain(func([]js.Value) (any, error) { m.WithdrawLink(); return nil, nil }),
		"join":           async(o.join),
		"safety":         async(o.safety),
		"own":            async(o.own),
		"changing":       async(o.changing),
		"changed":        plain(o.changed),
		"refused":        plain(o.refused),
		"members":        async(o.members),
		"groupInfo":      plain(o.groupInfo),
		"setGroupInfo":   plain(o.setGroupInfo),
		"stop":           plain(func([]js.Value) (any, error) { m.Stop(); return nil, nil }),
		"close":          async(func([]js.Value) (any, error) { return nil, m.Close() }),
	}, nil
}

// options reads what was given; the rest is left to its defaults.
func options(v js.Value) (o e2ee.Options) {
	texts := map[string]*string{"keys": &o.Keys, "identity": &o.Identity, "passphrase": &o.Passphrase}
	bools := map[string]*bool{"resetIdentity": &o.ResetIdentity, "acceptChanges": &o.AcceptChanges, "allowPlain": &o.AllowPlain}
	numbers := map[string]*int{"rotateMessages": &o.RotateMessages, "held": &o.Held}
	times := map[string]*time.Duration{"rotateAfterMs": &o.RotateAfter, "refreshMs": &o.Refresh}
	for name, to := range texts {
		if x := v.Get(name); x.Type() == js.TypeString {
			*to = x.String()
		}
	}
	for name, to := range bools {
		*to = v.Get(name).Truthy()
	}
	for name, to := range numbers {
		if x := v.Get(name); x.Type() == js.TypeNumber {
			*to = x.Int()
		}
	}
	for name, to := range times {
		if x := v.Get(name); x.Type() == js.TypeNumber {
			*to = time.Duration(x.Float() * float64(time.Millisecond))
		}
	}
	return o
}

func (o machine) start([]js.Value) (any, error) {
	o.Start()
	return nil, nil
}

// message reads one that came as the packet of a message, or of a copy.
func (o machine) message(v js.Value) (m chat.Message, isCopy bool, err error) {
	p, _, err := packet.Next(bytesOf(v))
	if err != nil {
		return m, false, err
	}
	if p.Type == packet.TypeCopy {
		var x packet.Copy
		err = x.Decode(p)
		m = chat.Message{ID: x.ID, From: chat.User(o.user), To: chat.User(x.To), Place: x.Place, At: x.Late, Expires: x.Expires, Suite: x.Suite, Content: x.Content, Media: string(x.Media)}
		return m, true, err
	}
	if p.Type == packet.TypeGroupMessage {
		var x packet.GroupMessage
		err = x.Decode(p)
		m = chat.Message{ID: x.ID, From: chat.User(x.From), To: chat.User(x.Group), Place: x.Place, At: x.Late, Expires: x.Expires, Suite: x.Suite, Content: x.Content, Media: string(x.Media)}
		return m, false, err
	}
	var x packet.Message
	err = x.Decode(p)
	m = chat.Message{ID: x.ID, From: chat.User(x.From), To: chat.User(o.user), Place: x.Pos, At: x.Late, Expires: x.Expires, Suite: x.Suite, Content: x.Content, Media: string(x.Media)}
	return m, false, err
}

// packetOf is the same the other way. Late carries when the server had it, whole.
func packetOf(m *chat.Message, isCopy bool) js.Value {
	if isCopy {
		x := packet.Copy{ID: m.ID, To: []byte(m.To), Late: m.At, Suite: m.Suite, Content: m.Content, Place: m.Place, Expires: m.Expires, Media: []byte(m.Media)}
		return toJS(x.AppendTo(nil))
	}
	if m.To.IsGroup() {
		x := packet.GroupMessage{ID: m.ID, From: []byte(m.From), Group: []byte(m.To), Place: m.Place, Late: m.At, Suite: m.Suite, Content: m.Content, Expires: m.Expires, Media: []byte(m.Media)}
		return toJS(x.AppendTo(nil))
	}
	x := packet.Message{Pos: m.Place, ID: m.ID, From: []byte(m.From), Late: m.At, Suite: m.Suite, Content: m.Content, Expires: m.Expires, Media: []byte(m.Media)}
	return toJS(x.AppendTo(nil))
}

// take (packet) returns what the app is to see of a message, or null.
func (o machine) take(args []js.Value) (any, error) {
	m, isCopy, err := o.message(args[0])
	if err != nil {
		return nil, err
	}
	e, err := o.Take(context.Background(), m, isCopy)
	return event(e), err
}

// readable (packet) returns the type and content of a message of history; null
// where it cannot be read.
func (o machine) readable(args []js.Value) (any, error) {
	m, _, err := o.message(args[0])
	if err != nil {
		return nil, err
	}
	read, typ := o.ReadableTyped(m)
	if typ == 0 {
		return nil, nil
	}
	return map[string]any{"kind": int(typ), "content": toJS(read.Content)}, nil
}

// event is one as the other side reads it.
func event(e e2ee.Event) any {
	switch e := e.(type) {
	case e2ee.Shown:
		return map[string]any{"type": "shown", "packet": packetOf(&e.Message, e.Copy)}
	case e2ee.Typed:
		return map[string]any{"type": "typed", "packet": packetOf(&e.Message, e.Copy), "kind": int(e.Type)}
	case e2ee.Failed:
		return map[string]any{"type": "failed", "packet": packetOf(&e.Message, e.Copy), "error": problem(e.Err)}
	case e2ee.GroupNamed:
		return map[string]any{"type": "group_named", "packet": packetOf(&e.Message, e.Copy), "info": infoOf(e.Info)}
	case e2ee.Unannounced:
		return map[string]any{"type": "unannounced", "group": string(e.Group), "user": string(e.User), "reads": e.Reads}
	case e2ee.LeftOut:
		users := make([]any, len(e.Users))
		for i, u := range e.Users {
			users[i] = string(u)
		}
		return map[string]any{"type": "left_out", "group": string(e.Group), "users": users}
	case e2ee.IdentityChanged:
		return map[string]any{"type": "identity_changed", "user": string(e.User), "accepted": e.Accepted}
	case e2ee.BadKeys:
		return map[string]any{"type": "bad_keys", "user": string(e.User), "device": string(e.Device), "error": problem(e.Err)}
	case e2ee.LinkUsed:
		used := map[string]any{"type": "link_used", "device": string(e.Device), "error": nil}
		if e.Err != nil {
			used["error"] = problem(e.Err)
		}
		return used
	case e2ee.LinkedHistory:
		history := map[string]any{"type": "linked_history", "device": string(e.Device), "given": e.Given, "sessions": e.Sessions, "error": nil}
		if e.Err != nil {
			history["error"] = problem(e.Err)
		}
		return history
	case e2ee.Problem:
		return map[string]any{"type": "problem", "error": problem(e.Err)}
	}
	return nil
}

// ready (to, type, body, own) returns seal, which makes a content of an id, and done.
func (o machine) ready(args []js.Value) (any, error) {
	ctx, cancel := context.WithCancel(context.Background())
	stop := js.FuncOf(func(js.Value, []js.Value) any { cancel(); return nil })
	if signal := args[3]; signal.Truthy() {
		signal.Call("addEventListener", "abort", stop)
		defer signal.Call("removeEventListener", "abort", stop)
	}
	seal, done, err := o.Ready(ctx, args[0].String(), uint8(args[1].Int()), bytesOf(args[2]))
	if err != nil {
		stop.Release()
		cancel()
		return nil, err
	}
	var sealJS, doneJS js.Func
	sealJS = plain(func(a []js.Value) (any, error) {
		id, err := chat.ParseID(a[0].String())
		if err != nil {
			return nil, fmt.Errorf("e2ee: %w", err)
		}
		content, err := seal(id)
		if err != nil {
			return nil, err
		}
		return toJS(content), nil
	})
	doneJS = plain(func([]js.Value) (any, error) {
		done()
		cancel()
		sealJS.Release()
		doneJS.Release()
		stop.Release()
		return nil, nil
	})
	return map[string]any{"seal": sealJS, "done": doneJS}, nil
}

// offerLink (whether with history, users and groups without which) returns a code.
func (o machine) offerLink(args []js.Value) (any, error) {
	link := e2ee.LinkOptions{NoHistory: !args[0].Bool()}
	for i := range args[1].Length() {
		link.Without = append(link.Without, args[1].Index(i).String())
	}
	return o.OfferLink(context.Background(), link)
}

// join (code, signal or null) returns when this device has the identity.
func (o machine) join(args []js.Value) (any, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stop := js.FuncOf(func(js.Value, []js.Value) any { cancel(); return nil })
	defer stop.Release()
	if signal := args[1]; signal.Truthy() {
		signal.Call("addEventListener", "abort", stop)
		defer signal.Call("removeEventListener", "abort", stop)
	}
	return nil, o.Join(ctx, args[0].String())
}

func (o machine) safety(args []js.Value) (any, error) {
	s, err := o.Safety(context.Background(), args[0].String())
	if err != nil {
		return nil, err
	}
	return map[string]any{"digits": s.Digits, "scan": toJS(s.Scan), "qr": s.QR(), "verified": s.Verified}, nil
}
