package packet

import "strconv"

var typeNames = map[Type]string{
	TypeHello:        "hello",
	TypeSend:         "send",
	TypeMark:         "mark",
	TypeRead:         "read",
	TypeTyping:       "typing",
	TypeWatch:        "watch",
	TypeUnwatch:      "unwatch",
	TypeHistory:      "history",
	TypeChats:        "chats",
	TypeRefresh:      "refresh",
	TypePing:         "ping",
	TypePush:         "push",
	TypeKeysPut:      "keys_put",
	TypeKeysGet:      "keys_get",
	TypeKeysClaim:    "keys_claim",
	TypeKeysDrop:     "keys_drop",
	TypeGroupGet:     "group_get",
	TypeDevicesGet:   "devices_get",
	TypeDeviceLabel:  "device_label",
	TypeDeviceRevoke: "device_revoke",
	TypeWelcome:      "welcome",
	TypeAccepted:     "accepted",
	TypeRefused:      "refused",
	TypeMessage:      "message",
	TypeCopy:         "copy",
	TypeReceipt:      "receipt",
	TypeCaughtUp:     "caught_up",
	TypeTruncated:    "truncated",
	TypeTypingFrom:   "typing_from",
	TypePresence:     "presence",
	TypeHistoryPage:  "history_page",
	TypeChatsPage:    "chats_page",
	TypeOutcome:      "outcome",
	TypeRefreshed:    "refreshed",
	TypePong:         "pong",
	TypeError:        "error",
	TypeBye:          "bye",
	TypeDone:         "done",
	TypeKeysStored:   "keys_stored",
	TypeKeys:         "keys",
	TypeKeysClaimed:  "keys_claimed",
	TypeKeysLow:      "keys_low",
	TypeGroupMessage: "group_message",
	TypeGroupPage:    "group_page",
	TypeDevices:      "devices",
}

// String returns the type's name in the documentation, such as "caught_up", or
// "type_N" for one that is not known here.
func (t Type) String() string {
	if name, ok := typeNames[t]; ok {
		return name
	}
	return "type_" + strconv.Itoa(int(t))
}
