package packet

// Keys of Welcome.Limits. What is over a limit is refused with the code named
// here; a client that heeds them never meets one. A server may leave keys out
// and add others.
const (
	LimitContent     = "content"      // bytes of a send's content; too_large
	LimitMedia       = "media"        // bytes of a send's media URL; too_large
	LimitMessage     = "message"      // bytes of one WebSocket message; close 1009
	LimitRate        = "rate"         // packets a second, sends included; rate_limited, then flood
	LimitBurst       = "burst"        // packets at once after a pause; the same
	LimitRateBytes   = "rate_bytes"   // bytes a second, and at once after a pause; the same
	LimitInflight    = "inflight"     // sends without an answer; overloaded
	LimitWindow      = "window"       // entries the server sends ahead of the device's mark
	LimitWindowBytes = "window_bytes" // the same in bytes
	LimitWatches     = "watches"      // users watched; too_many
	LimitHistory     = "history"      // rows of a history page; more are not sent
	LimitChats       = "chats"        // rows of a page of chats; more are not sent
	LimitRequests    = "requests"     // requests without an answer; overloaded
	LimitWaiting     = "waiting"      // up to which Welcome.Waiting counts
	LimitTTL         = "ttl"          // seconds of the longest time to live; bad_ttl
	LimitFuture      = "future"       // seconds an id may be ahead of the server; id_future
	LimitRetryAge    = "retry_age"    // seconds an id may be old; id_expired
	LimitPush        = "push"         // bytes of a push token; bad_push. Where it is missing the server pushes nothing
)

// LimitNames lists the keys above.
var LimitNames = []string{
	LimitContent, LimitMedia, LimitMessage, LimitRate, LimitBurst, LimitRateBytes,
	LimitInflight, LimitWindow, LimitWindowBytes, LimitWatches, LimitHistory, LimitChats,
	LimitRequests, LimitWaiting, LimitTTL, LimitFuture, LimitRetryAge, LimitPush,
	LimitOneTimeKeys, LimitKeyUsers, LimitKeyDevices, LimitKeyRate,
	LimitGroupMembers, LimitGroupInfo, LimitDevices, LimitBlocks,
}
