package config

import (
	"strings"
	"time"

	"github.com/rookery-chat/rookery/internal/proxyaddr"
)

// Key is one row of the table.
type Key struct {
	Name     string // as in YAML, the groups joined by dots
	Kind     Kind
	Default  string
	Min, Max int64    // of a number, in ns or bytes where it has a unit
	Choices  []string // of a Choice or a List
	Unit     string   // what a plain number counts
	Doc      string   // one or two sentences
	field    func(*Config) any
}

// Flag returns the key's flag without its dashes: dots and underscores become
// dashes.
func (k *Key) Flag() string { return strings.NewReplacer(".", "-", "_", "-").Replace(k.Name) }

// Env returns the key's environment variable.
func (k *Key) Env() string {
	return "ROOKERY_" + strings.ToUpper(strings.ReplaceAll(k.Flag(), "-", "_"))
}

// InFile reports whether the key may stand in the file; the file's own name
// may not.
func (k *Key) InFile() bool { return k.Name != "config" }

// Keys returns a copy of the table, in the order of the documents.
func Keys() []Key { return append([]Key(nil), keys...) }

const (
	ms     = int64(time.Millisecond)
	second = int64(time.Second)
	hour   = int64(time.Hour)
	kib    = int64(1) << 10
	mib    = int64(1) << 20
	gib    = int64(1) << 30
	tib    = int64(1) << 40
)

// groupDocs is a sentence for each group, in the order of the table.
var groupDocs = map[string]string{
	"":          "",
	"log":       "What the server writes about itself; never a message's content and never a token.",
	"engine":    "The event loops that hold the sockets.",
	"auth":      "Who may connect.",
	"session":   "What one connection may do. Clients are told these limits in the welcome packet.",
	"pipeline":  "The log that makes messages durable.",
	"shard":     "The owners of partitions, which take the log to the store.",
	"store":     "The embedded store.",
	"retention": "How long things are kept.",
	"drain":     "How the server goes away on SIGTERM.",
}

var keys = []Key{
	{Name: "listen", Kind: Address, Default: "127.0.0.1:8080",
		Doc:   "Address of the WebSockets. Port 0 takes a free one.",
		field: func(c *Config) any { return &c.Listen }},
	{Name: "listen_proxy", Kind: Choice, Default: "none", Choices: proxyaddr.Names,
		Doc:   "How a balancer in front says who the client is: proxy is a header of the PROXY protocol, version 1 or 2, forwarded is X-Forwarded-For. See docs/balancing.md.",
		field: func(c *Config) any { return &c.ListenProxy }},
	{Name: "listen_trusted", Kind: List, Default: "",
		Doc:   "Addresses and networks of those balancers, such as 10.0.0.0/8. They must say who the client is; whoever else connects is a client.",
		field: func(c *Config) any { return &c.ListenTrusted }},
	{Name: "admin", Kind: Address, Default: "127.0.0.1:8081",
		Doc:   "Address of health, metrics and profiles. Never show it to users.",
		field: func(c *Config) any { return &c.Admin }},
	{Name: "data", Kind: Text, Default: "./data",
		Doc:   "Folder of the log, the store and the development key.",
		field: func(c *Config) any { return &c.Data }},
	{Name: "config", Kind: Text, Default: "",
		Doc:   "YAML file with any of these keys but this one; rookery config default prints one.",
		field: func(c *Config) any { return &c.File }},
	{Name: "memory_limit", Kind: Memory, Default: "auto", Min: 64 * mib, Max: 16 * tib,
		Doc:   "Soft limit of the Go heap. auto takes GOMEMLIMIT, else nine tenths of the control group's limit less store.cache_bytes; off sets none.",
		field: func(c *Config) any { return &c.MemoryLimit }},

	{Name: "log.level", Kind: Choice, Default: "info", Choices: []string{"debug", "info", "warn", "error"},
		Doc:   "Least level that is logged.",
		field: func(c *Config) any { return &c.Log.Level }},
	{Name: "log.format", Kind: Choice, Default: "text", Choices: []string{"text", "json"},
		Doc:   "Form of a line.",
		field: func(c *Config) any { return &c.Log.Format }},

	{Name: "engine.loops", Kind: Int, Default: "0", Max: 256, Unit: "loops",
		Doc:   "Event loops; 0 is one a processor.",
		field: func(c *Config) any { return &c.Engine.Loops }},
	{Name: "engine.max_connections", Kind: Int, Default: "0", Max: 16_000_000, Unit: "connections",
		Doc:   "Open sockets; more are refused. 0 is what the descriptor limit leaves after 1024 for files, or a quarter where that is less.",
		field: func(c *Config) any { return &c.Engine.MaxConnections }},
	{Name: "engine.accept_per_second", Kind: Int, Default: "10000", Max: 1_000_000, Unit: "connections/s",
		Doc:   "Sockets accepted a second; the others are closed at once, and clients come back with back-off. 0 is no limit.",
		field: func(c *Config) any { return &c.Engine.AcceptPerSecond }},
	{Name: "engine.out_bytes_per_connection", Kind: Size, Default: "1MiB", Min: 64 * kib, Max: gib,
		Doc:   "Bytes that wait to be written to one socket; over it the connection is closed.",
		field: func(c *Config) any { return &c.Engine.OutBytesPerConnection }},
	{Name: "engine.out_bytes_total", Kind: Size, Default: "512MiB", Min: mib, Max: tib,
		Doc:   "Bytes that wait to be written to all sockets together.",
		field: func(c *Config) any { return &c.Engine.OutBytesTotal }},

	{Name: "auth.keys", Kind: Text, Default: "",
		Doc:   "File with the public keys of who signs tokens, a JSON Web Key Set; read again when it changes and on SIGHUP.",
		field: func(c *Config) any { return &c.Auth.Keys }},
	{Name: "auth.revoked", Kind: Text, Default: "",
		Doc:   "File with revoked tokens and users; read again like auth.keys.",
		field: func(c *Config) any { return &c.Auth.Revoked }},
	{Name: "auth.algorithms", Kind: List, Default: "EdDSA", Choices: []string{"EdDSA", "ES256", "HS256"},
		Doc:   "Signatures that are taken, and no others.",
		field: func(c *Config) any { return &c.Auth.Algorithms }},
	{Name: "auth.dev_key", Kind: Choice, Default: "auto", Choices: []string{"auto", "true", "false"},
		Doc:   "Take tokens of the development key in the data folder, which lets whoever reads that folder be anybody. auto does when listen is a loopback address and listen_proxy is none.",
		field: func(c *Config) any { return &c.Auth.DevKey }},
	{Name: "auth.origins", Kind: List, Default: "",
		Doc:   "Origins of web pages that may connect, such as https://chat.example.org; * is any. Programs that send no Origin header are not concerned.",
		field: func(c *Config) any { return &c.Auth.Origins }},
	{Name: "auth.token_max_bytes", Kind: Size, Default: "4KiB", Min: 256, Max: 64 * kib,
		Doc:   "Longest token that is looked at.",
		field: func(c *Config) any { return &c.Auth.TokenMaxBytes }},
	{Name: "auth.leeway", Kind: Duration, Default: "5s", Max: 60 * second,
		Doc:   "How far the clock of who signs tokens may be off.",
		field: func(c *Config) any { return &c.Auth.Leeway }},
	{Name: "auth.reload_every", Kind: Duration, Default: "10s", Min: 100 * ms, Max: hour,
		Doc:   "How often auth.keys and auth.revoked are looked at for a change.",
		field: func(c *Config) any { return &c.Auth.ReloadEvery }},

	{Name: "session.handshake_timeout", Kind: Duration, Default: "10s", Min: 100 * ms, Max: 300 * second,
		Doc:   "Time from accept to a finished WebSocket handshake.",
		field: func(c *Config) any { return &c.Session.HandshakeTimeout }},
	{Name: "session.hello_timeout", Kind: Duration, Default: "10s", Min: 100 * ms, Max: 300 * second,
		Doc:   "Time from the handshake to hello.",
		field: func(c *Config) any { return &c.Session.HelloTimeout }},
	{Name: "session.heartbeat", Kind: Duration, Default: "60s", Min: second, Max: hour,
		Doc:   "Silence after which the server pings.",
		field: func(c *Config) any { return &c.Session.Heartbeat }},
	{Name: "session.idle", Kind: Duration, Default: "150s", Min: second, Max: 6 * hour,
		Doc:   "Silence after which the session ends with idle; longer than two heartbeats.",
		field: func(c *Config) any { return &c.Session.Idle }},
	{Name: "session.expiry_notice", Kind: Duration, Default: "60s", Max: hour,
		Doc:   "How long before the token's end the client is warned.",
		field: func(c *Config) any { return &c.Session.ExpiryNotice }},
	{Name: "session.message_bytes", Kind: Size, Default: "256KiB", Min: kib, Max: 16 * mib,
		Doc:   "Largest WebSocket message; it may hold many packets.",
		field: func(c *Config) any { return &c.Session.MessageBytes }},
	{Name: "session.content_bytes", Kind: Size, Default: "64KiB", Min: 64, Max: 8 * mib,
		Doc:   "Largest content of a chat message; over it a send is refused with too_large.",
		field: func(c *Config) any { return &c.Session.ContentBytes }},
	{Name: "session.media_bytes", Kind: Size, Default: "2KiB", Max: 64 * kib,
		Doc:   "Longest media URL of a chat message.",
		field: func(c *Config) any { return &c.Session.MediaBytes }},
	{Name: "session.deflate", Kind: Bool, Default: "false", Choices: []string{"true", "false"},
		Doc:   "Offer permessage-deflate. Ciphertext does not compress, and a compressor costs memory and time.",
		field: func(c *Config) any { return &c.Session.Deflate }},
	{Name: "session.rate_messages", Kind: Int, Default: "1000", Min: 1, Max: 10_000_000, Unit: "messages/s",
		Doc:   "Messages a second; over it sends are refused with rate_limited.",
		field: func(c *Config) any { return &c.Session.RateMessages }},
	{Name: "session.rate_burst", Kind: Int, Default: "4096", Min: 1, Max: 10_000_000, Unit: "messages",
		Doc:   "Messages that may come at once after a pause.",
		field: func(c *Config) any { return &c.Session.RateBurst }},
	{Name: "session.rate_bytes", Kind: Size, Default: "4MiB", Min: kib, Max: 16 * gib,
		Doc:   "Bytes a second, and at once after a pause.",
		field: func(c *Config) any { return &c.Session.RateBytes }},
	{Name: "session.inflight", Kind: Int, Default: "4096", Min: 1, Max: 1_000_000, Unit: "messages",
		Doc:   "Sends without an answer; over it sends are refused with overloaded.",
		field: func(c *Config) any { return &c.Session.Inflight }},
	{Name: "session.window", Kind: Int, Default: "1024", Min: 2, Max: 1_000_000, Unit: "entries",
		Doc:   "Entries sent to a device ahead of its mark; then it is caught up from the store as it marks.",
		field: func(c *Config) any { return &c.Session.Window }},
	{Name: "session.window_bytes", Kind: Size, Default: "256KiB", Min: kib, Max: 256 * mib,
		Doc:   "Bytes of entries sent to a device ahead of its mark; past them it is caught up from the store as it marks.",
		field: func(c *Config) any { return &c.Session.WindowBytes }},
	{Name: "session.watches", Kind: Int, Default: "256", Min: 1, Max: 65_536, Unit: "users",
		Doc:   "Users whose presence a session watches.",
		field: func(c *Config) any { return &c.Session.Watches }},
	{Name: "session.devices", Kind: Int, Default: "64", Min: 1, Max: 10_000, Unit: "devices",
		Doc:   "Devices of a user; who says hello with the name of another is refused with too_many_devices.",
		field: func(c *Config) any { return &c.Session.Devices }},
	{Name: "session.history_rows", Kind: Int, Default: "100", Min: 1, Max: 10_000, Unit: "rows",
		Doc:   "Rows of a page of history or chats.",
		field: func(c *Config) any { return &c.Session.HistoryRows }},
	{Name: "session.requests", Kind: Int, Default: "16", Min: 1, Max: 255, Unit: "requests",
		Doc:   "Requests of a session at work at once: history, chats, watch and typing; over it they are answered with overloaded.",
		field: func(c *Config) any { return &c.Session.Requests }},
	{Name: "session.readers", Kind: Int, Default: "16", Min: 1, Max: 1024, Unit: "goroutines",
		Doc:   "Goroutines that read the store for all sessions together.",
		field: func(c *Config) any { return &c.Session.Readers }},
	{Name: "session.id_future", Kind: Duration, Default: "10s", Min: second, Max: hour,
		Doc:   "How far a message id may be ahead of the server's clock.",
		field: func(c *Config) any { return &c.Session.IDFuture }},
	{Name: "session.retry_age", Kind: Duration, Default: "30d", Min: hour, Max: 30*day + 12*hour,
		Doc:   "How old a message id may be; the store knows ids again for little longer.",
		field: func(c *Config) any { return &c.Session.RetryAge }},
	{Name: "session.ttl_max", Kind: Duration, Default: "365d", Min: second, Max: 24_855 * day,
		Doc:   "Longest time to live of a message that has one.",
		field: func(c *Config) any { return &c.Session.TTLMax }},
	{Name: "session.unauthenticated_per_address", Kind: Int, Default: "4096", Min: 1, Max: 1_000_000, Unit: "connections",
		Doc:   "Sockets of one address that have not finished hello.",
		field: func(c *Config) any { return &c.Session.UnauthenticatedPerAddress }},

	{Name: "pipeline.partitions", Kind: Int, Default: "8", Min: 1, Max: 1024, Unit: "partitions",
		Doc:   "Partitions of the log; fixed when the data folder is made.",
		field: func(c *Config) any { return &c.Pipeline.Partitions }},
	{Name: "pipeline.segment_bytes", Kind: Size, Default: "64MiB", Min: mib, Max: 4 * gib,
		Doc:   "Size of a file of the log.",
		field: func(c *Config) any { return &c.Pipeline.SegmentBytes }},
	{Name: "pipeline.partition_bytes", Kind: Size, Default: "64MiB", Min: mib, Max: 64 * gib,
		Doc:   "Bytes of a partition that its owner has not stored yet; over them sends are refused with overloaded.",
		field: func(c *Config) any { return &c.Pipeline.PartitionBytes }},

	{Name: "shard.batch_records", Kind: Int, Default: "4096", Min: 1, Max: 1_000_000, Unit: "records",
		Doc:   "Records stored at once.",
		field: func(c *Config) any { return &c.Shard.BatchRecords }},
	{Name: "shard.batch_bytes", Kind: Size, Default: "1MiB", Min: 4 * kib, Max: 256 * mib,
		Doc:   "Bytes of records stored at once.",
		field: func(c *Config) any { return &c.Shard.BatchBytes }},
	{Name: "shard.sync_every", Kind: Duration, Default: "5s", Min: 10 * ms, Max: hour,
		Doc:   "How often the store is synced, after which the log may delete.",
		field: func(c *Config) any { return &c.Shard.SyncEvery }},
	{Name: "shard.heads", Kind: Int, Default: "65536", Min: 64, Max: 100_000_000, Unit: "users",
		Doc:   "Users of a partition whose last position is kept in memory.",
		field: func(c *Config) any { return &c.Shard.Heads }},

	{Name: "store.cache_bytes", Kind: Size, Default: "128MiB", Min: mib, Max: tib,
		Doc:   "Cache of blocks.",
		field: func(c *Config) any { return &c.Store.CacheBytes }},
	{Name: "store.memtable_bytes", Kind: Size, Default: "16MiB", Min: mib, Max: 4*gib - mib,
		Doc:   "Size of a table in memory before it goes to disk.",
		field: func(c *Config) any { return &c.Store.MemtableBytes }},

	{Name: "retention.inbox", Kind: Duration, Default: "30d", Min: second, Max: 3650 * day,
		Doc:   "How long an entry waits for a device; who comes later gets truncated, then asks history.",
		field: func(c *Config) any { return &c.Retention.Inbox }},
	{Name: "retention.messages", Kind: Duration, Default: "1825d", Min: second, Max: 36_500 * day,
		Doc:   "How long messages are kept.",
		field: func(c *Config) any { return &c.Retention.Messages }},

	{Name: "drain.grace", Kind: Duration, Default: "20s", Max: hour,
		Doc:   "Time for clients to leave before their connections are closed.",
		field: func(c *Config) any { return &c.Drain.Grace }},
	{Name: "drain.retry", Kind: Duration, Default: "5s", Max: hour,
		Doc:   "Clients are told to come back after a random part of this.",
		field: func(c *Config) any { return &c.Drain.Retry }},
	{Name: "drain.url", Kind: Text, Default: "",
		Doc:   "Where clients are told to come back to; empty is the same place.",
		field: func(c *Config) any { return &c.Drain.URL }},
}
