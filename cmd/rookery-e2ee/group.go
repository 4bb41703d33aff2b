//go:build js

package main

import (
	"context"
	"fmt"
	"syscall/js"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client/e2ee"
)

// own (packet) takes in that a message to a group, which this device sent, has
// its place.
func (o machine) own(args []js.Value) (any, error) {
	m, _, err := o.message(args[0])
	if err != nil {
		return nil, err
	}
	return nil, o.Own(context.Background(), m)
}

func idOf(v js.Value) (chat.ID, error) {
	id, err := chat.ParseID(v.String())
	if err != nil {
		err = fmt.Errorf("e2ee: %w", err)
	}
	return id, err
}

// changing (id, change as bytes) keeps a change that is about to be made.
func (o machine) changing(args []js.Value) (any, error) {
	id, err := idOf(args[0])
	if err != nil {
		return nil, err
	}
	change, err := chat.ParseChange(bytesOf(args[1]))
	if err != nil {
		return nil, err
	}
	return nil, o.Changing(id, change)
}

// changed (group, change as bytes, place as digits) says that it was made.
func (o machine) changed(args []js.Value) (any, error) {
	change, err := chat.ParseChange(bytesOf(args[1]))
	if err != nil {
		return nil, err
	}
	var place uint64
	if _, err := fmt.Sscan(args[2].String(), &place); err != nil {
		return nil, err
	}
	o.Changed(args[0].String(), change, chat.Position(place))
	return nil, nil
}

// refused (id) says that a message was not taken.
func (o machine) refused(args []js.Value) (any, error) {
	id, err := idOf(args[0])
	if err == nil {
		o.Refused(id)
	}
	return nil, err
}

// members (group) returns who is in it as this device knows it.
func (o machine) members(args []js.Value) (any, error) {
	list, err := o.GroupMembers(context.Background(), args[0].String())
	if err != nil {
		return nil, err
	}
	all := make([]any, len(list))
	for i, m := range list {
		all[i] = map[string]any{"user": string(m.User), "admin": m.Admin, "keys": m.Keys}
	}
	return all, nil
}

func infoOf(i e2ee.GroupInfo) map[string]any {
	picture := js.Null()
	if i.Picture != nil {
		picture = toJS(i.Picture)
	}
	return map[string]any{"name": i.Name, "picture": picture}
}

// groupInfo (group) returns its name and picture, or null.
func (o machine) groupInfo(args []js.Value) (any, error) {
	info, known := o.GroupInfo(args[0].String())
	if !known {
		return nil, nil
	}
	return infoOf(info), nil
}

// setGroupInfo (group, name, picture or null) notes it and returns the body of
// the message that says so.
func (o machine) setGroupInfo(args []js.Value) (any, error) {
	info := e2ee.GroupInfo{Name: args[1].String()}
	if !args[2].IsNull() {
		info.Picture = bytesOf(args[2])
	}
	body, err := info.Body()
	if err != nil {
		return nil, err
	}
	o.SetGroupInfo(args[0].String(), info)
	return toJS(body), nil
}
