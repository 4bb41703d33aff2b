package chat

import (
	"errors"
	"fmt"
	"time"
)

// Code names what went wrong, on the wire and in the SDKs. docs/protocol.md
// lists every code with what a client does about it. Numbers are never reused.
type Code uint16

// Action is what a client does about a Code.
type Action uint8

// The actions.
const (
	ActionStop      Action = 1 + iota // do not try again without a change: a fault of the request or the program
	ActionRetry                       // try the same again after the retry-after
	ActionReconnect                   // connect again, with back-off or after the retry-after
	ActionLogin                       // get a new token, then connect again
)

// The codes. Below 100: of a send. From 100: of another request. From 200: of
// the session, which ends with them.
const (
	CodeOK Code = 0

	CodeOverloaded  Code = 1  // the log or the store is full or slow
	CodeRateLimited Code = 2  // the session sends more than its rate
	CodeTooLarge    Code = 3  // the content is over the limit
	CodeBadID       Code = 4  // not a TIMEUUID, or not above the last one
	CodeIDFuture    Code = 5  // the id's time is ahead of the server's
	CodeIDExpired   Code = 6  // the id's time is older than a retry is accepted for
	CodeIDNode      Code = 7  // the id's node is another device's
	CodeIDConflict  Code = 8  // the id was used before with other bytes
	CodeBadName     Code = 9  // a user's or device's name is malformed
	CodeBadTTL      Code = 10 // the time to live is out of range
	CodeBadSequence Code = 11 // the send's number is not the next one

	CodeNotMember Code = 12 // the sender is no member of the group, or there is none
	CodeNotAdmin  Code = 13 // the change of a group is an admin's to make
	CodeGroupFull Code = 14 // the group would have too many members
	CodeBadChange Code = 15 // no change of a group, or one that cannot be

	CodeBadPacket     Code = 100 // the packet cannot be decoded
	CodeUnknownType   Code = 101 // the packet's type is not known here
	CodeForbidden     Code = 102 // not yours: no member of the chat
	CodeBadPosition   Code = 103 // a position that cannot be
	CodeTooMany       Code = 104 // over a count limit, such as of watches
	CodeUnavailable   Code = 105 // a dependency does not answer now
	CodeNotHello      Code = 106 // the first packet has to be hello
	CodeBadVersion    Code = 107 // the protocol version is not spoken here
	CodeAlreadyHello  Code = 108 // hello comes once
	CodeBadPush       Code = 109 // no such push provider here, or no token of it
	CodeBadKeys       Code = 110 // malformed, weak or unsigned public keys
	CodeOtherIdentity Code = 111 // the user has another identity key
	CodeRevoked       Code = 112 // the device was revoked by another of its user's

	CodeNotFound Code = 120 // there is no such thing, or not any more
	CodeQuota    Code = 121 // the user's media would be more than is allowed
	CodeBadMedia Code = 122 // a size or type that is not taken, or parts that are missing

	CodeUnauthorized   Code = 200 // no token, or one that does not hold
	CodeExpired        Code = 201 // the token expired
	CodeReplaced       Code = 202 // a newer session of this device took over
	CodeDraining       Code = 203 // the server is going away: come back, elsewhere
	CodeIdle           Code = 204 // nothing was heard for the idle time
	CodeProtocol       Code = 206 // the WebSocket protocol was broken
	CodeFlood          Code = 207 // far over the rate, or pings without end
	CodeInternal       Code = 208 // a fault of the server
	CodeBusy           Code = 209 // no more connections now
	CodeWrongUser      Code = 210 // the path names another user than the token
	CodeBadOrigin      Code = 211 // the page's origin is not allowed
	CodeUnknown        Code = 212 // a send's outcome is not known: reconnect and retry it
	CodeTooManyDevices Code = 213 // the user has as many devices as are taken
)

type codeFact struct {
	name   string
	action Action
}

var codeFacts = map[Code]codeFact{
	CodeOK:             {"ok", ActionStop},
	CodeOverloaded:     {"overloaded", ActionRetry},
	CodeRateLimited:    {"rate_limited", ActionRetry},
	CodeTooLarge:       {"too_large", ActionStop},
	CodeBadID:          {"bad_id", ActionStop},
	CodeIDFuture:       {"id_future", ActionStop},
	CodeIDExpired:      {"id_expired", ActionStop},
	CodeIDNode:         {"id_node", ActionStop},
	CodeIDConflict:     {"id_conflict", ActionStop},
	CodeBadName:        {"bad_name", ActionStop},
	CodeBadTTL:         {"bad_ttl", ActionStop},
	CodeBadSequence:    {"bad_sequence", ActionReconnect},
	CodeNotMember:      {"not_member", ActionStop},
	CodeNotAdmin:       {"not_admin", ActionStop},
	CodeGroupFull:      {"group_full", ActionStop},
	CodeBadChange:      {"bad_change", ActionStop},
	CodeBadPacket:      {"bad_packet", ActionStop},
	CodeUnknownType:    {"unknown_type", ActionStop},
	CodeForbidden:      {"forbidden", ActionStop},
	CodeBadPosition:    {"bad_position", ActionStop},
	CodeTooMany:        {"too_many", ActionStop},
	CodeUnavailable:    {"unavailable", ActionRetry},
	CodeNotHello:       {"not_hello", ActionStop},
	CodeBadVersion:     {"bad_version", ActionStop},
	CodeAlreadyHello:   {"already_hello", ActionStop},
	CodeBadPush:        {"bad_push", ActionStop},
	CodeBadKeys:        {"bad_keys", ActionStop},
	CodeOtherIdentity:  {"other_identity", ActionStop},
	CodeRevoked:        {"revoked", ActionStop},
	CodeNotFound:       {"not_found", ActionStop},
	CodeQuota:          {"quota", ActionStop},
	CodeBadMedia:       {"bad_media", ActionStop},
	CodeUnauthorized:   {"unauthorized", ActionLogin},
	CodeExpired:        {"expired", ActionLogin},
	CodeReplaced:       {"replaced", ActionStop},
	CodeDraining:       {"draining", ActionReconnect},
	CodeIdle:           {"idle", ActionReconnect},
	CodeProtocol:       {"protocol", ActionStop},
	CodeFlood:          {"flood", ActionReconnect},
	CodeInternal:       {"internal", ActionReconnect},
	CodeBusy:           {"busy", ActionReconnect},
	CodeWrongUser:      {"wrong_user", ActionStop},
	CodeBadOrigin:      {"bad_origin", ActionStop},
	CodeUnknown:        {"unknown_outcome", ActionReconnect},
	CodeTooManyDevices: {"too_many_devices", ActionStop},
}

// String returns the code's name, as documented.
func (c Code) String() string {
	if f, ok := codeFacts[c]; ok {
		return f.name
	}
	return fmt.Sprintf("code_%d", uint16(c))
}

// Action returns what a client does about the code. Codes this version does
// not know ask for a reconnect from 200, and for a stop below.
func (c Code) Action() Action {
	if f, ok := codeFacts[c]; ok {
		return f.action
	}
	if c >= 200 {
		return ActionReconnect
	}
	return ActionStop
}

// Codes lists every known code in ascending order of number.
func Codes() []Code {
	var cs []Code
	for c := range Code(300) {
		if _, ok := codeFacts[c]; ok {
			cs = append(cs, c)
		}
	}
	return cs
}

// Error is a Code with what happened.
type Error struct {
	Code       Code
	Text       string
	RetryAfter time.Duration // 0 where there is none
}

// Error returns "name: text".
func (e *Error) Error() string {
	if e.Text == "" {
		return e.Code.String()
	}
	return e.Code.String() + ": " + e.Text
}

// Is makes errors.Is match on the code alone.
func (e *Error) Is(target error) bool {
	var t *Error
	return errors.As(target, &t) && t.Code == e.Code
}

// Errorf makes an Error.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of an error: its own if it is an Error, CodeInternal
// for any other, CodeOK for nil.
func CodeOf(err error) Code {
	var e *Error
	switch {
	case err == nil:
		return CodeOK
	case errors.As(err, &e):
		return e.Code
	}
	return CodeInternal
}
