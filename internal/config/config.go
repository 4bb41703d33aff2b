// Package config is the server's configuration: one struct, one table of keys
// (keys.go), and four sources of values, of which the first that has a key
// wins: flag, environment, YAML file, default. Flags, the names of environment
// variables, the printed default file, the explanations and the table in
// docs/operations.md all come from the table.
package config

import (
	"net"
	"time"
)

// Config is the whole configuration. keys.go documents every field.
type Config struct {
	Role          string   // all, gateway, processor
	ID            string   // of this process among the others, "" for its machine's name and the port of RPC.Listen
	Listen        string   // host:port of the sockets
	ListenProxy   string   // none, proxy, forwarded
	ListenTrusted []string // addresses and networks of balancers
	Admin         string   // host:port of the admin server
	Data          string   // a folder
	File          string   // the YAML file, "" for none
	MemoryLimit   string   // "auto", "off" or a size

	Log       Log
	Engine    Engine
	Auth      Auth
	Session   Session
	Keys      KeyDirectory
	Groups    Groups
	Pipeline  Pipeline
	Shard     Shard
	Store     Store
	Presence  Presence
	Kafka     Kafka
	CQL       CQL
	Redis     Redis
	RPC       RPC
	Push      Push
	Retention Retention
	Drain     Drain
	Web       Web
	Media     Media

	origins map[string]string // key → what set it
}

// Log is how the server logs.
type Log struct {
	Level  string // debug, info, warn, error
	Format string // text, json
}

// Engine is the event loops.
type Engine struct {
	Loops                 int // 0: one a processor
	MaxConnections        int // 0: what the descriptor limit allows
	AcceptPerSecond       int // 0: no limit
	OutBytesPerConnection int
	OutBytesTotal         int64
	OwnDescriptors        bool
	TurnEvery             time.Duration
}

// Auth is who may connect.
type Auth struct {
	Keys          string   // the key set's file, "" for none
	Revoked       string   // the revocation list's file, "" for none
	Algorithms    []string // of EdDSA, ES256, HS256
	DevKey        string   // auto, true, false; UseDevKey decides
	Origins       []string // "*" is any
	TokenMaxBytes int
	Leeway        time.Duration
	CachedTokens  int // 0: none
	ReloadEvery   time.Duration
}

// Session is what one session may do.
type Session struct {
	HandshakeTimeout          time.Duration
	HelloTimeout              time.Duration
	Heartbeat                 time.Duration
	Idle                      time.Duration
	ExpiryNotice              time.Duration
	MessageBytes              int
	ContentBytes              int
	MediaBytes                int
	Deflate                   bool
	RateMessages              int // a second
	RateBurst                 int
	RateBytes                 int // a second
	Inflight                  int
	Window                    int
	WindowBytes               int
	Watches                   int
	Devices                   int
	Blocks                    int
	HistoryRows               int
	Requests                  int
	Readers                   int
	IDFuture                  time.Duration
	RetryAge                  time.Duration
	TTLMax                    time.Duration
	UnauthenticatedPerAddress int
}

// KeyDirectory is the directory of public keys.
type KeyDirectory struct {
	OneTime int // of a device
	Low     int
	Users   int // a request
	Devices int // a request
	Rate    int // requests a minute and session
}

// Groups are groups of users.
type Groups struct {
	Members int // of a group; 0: there are none
	Info    int64
}

// Pipeline is the log of messages.
type Pipeline struct {
	URL            string // "local", or kafka://host:port,…/prefix
	Partitions     int
	SegmentBytes   int64
	PartitionBytes int64
	CommitEvery    time.Duration
}

// Shard is the owners of partitions.
type Shard struct {
	BatchRecords int
	BatchBytes   int
	SyncEvery    time.Duration
	ReadsAhead   int
	MarkEvery    time.Duration
	Heads        int
}

// Store is where messages are kept.
type Store struct {
	URL           string // "pebble", or cql://host:port,…/keyspace
	CacheBytes    int64
	MemtableBytes int64
}

// Retention is how long things are kept.
type Retention struct {
	Inbox    time.Duration
	Messages time.Duration
}

// Drain is how the server goes away.
type Drain struct {
	Grace time.Duration
	Retry time.Duration
	URL   string
}

// Default returns the configuration that no source has touched.
func Default() *Config {
	c := &Config{origins: map[string]string{}}
	for i := range keys {
		k := &keys[i]
		if err := k.set(c, []string{k.Default}); err != nil {
			panic("config: the default of " + k.Name + " is no " + k.Kind.String() + ": " + err.Error())
		}
	}
	return c
}

// UseDevKey reports whether tokens of the development key are taken: as
// auth.dev_key says, and on "auto" only when the sockets are on loopback and
// there is no balancer, through which others reach them too.
func (c *Config) UseDevKey() bool {
	if c.Auth.DevKey == "auto" {
		return Loopback(c.Listen) && c.ListenProxy == "none"
	}
	return c.Auth.DevKey == "true"
}

// Origin says where a key's value is from: "default", or the flag, variable or
// line of the file that set it.
func (c *Config) Origin(key string) string {
	if o, ok := c.origins[key]; ok {
		return o
	}
	return "default"
}

// Loopback reports whether an address (host:port) is reached from this machine
// alone. Names other than localhost are not looked up and count as reachable.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
