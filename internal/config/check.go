package config

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/rookery-chat/rookery/internal/proxyaddr"
)

// crossCheck is a rule between keys. It is skipped where one of them has a
// fault already.
type crossCheck struct {
	keys  []string
	fault func(*Config) string // "" when it holds
}

var crossChecks = slices.Concat(processChecks, webChecks)

var processChecks = []crossCheck{
	{[]string{"listen", "admin"}, func(c *Config) string {
		if _, port, _ := net.SplitHostPort(c.Listen); port != "0" && c.Listen == c.Admin {
			return "listen and admin are the same address; users never face admin"
		}
		return ""
	}},
	{[]string{"listen_proxy", "listen_trusted"}, func(c *Config) string {
		_, err := proxyaddr.ParseTrusted(c.ListenTrusted)
		switch {
		case err != nil:
			return "listen_trusted: " + strings.ReplaceAll(err.Error(), "\n", "; ")
		case c.ListenProxy != "none" && len(c.ListenTrusted) == 0:
			return "listen_proxy needs listen_trusted: the addresses of the balancers whose word on who the client is counts"
		}
		return ""
	}},
	{[]string{"role", "pipeline.url", "store.url", "presence.url"}, func(c *Config) string {
		if c.Role != "all" && (c.Pipeline.URL == "local" || c.Store.URL == "pebble" || c.Presence.URL == "memory") {
			return fmt.Sprintf("role %s needs --log kafka://…, --store cql://… and --presence redis://…: what is in this process alone, no other can share", c.Role)
		}
		if c.Clustered() && (c.Pipeline.URL == "local" || c.Store.URL == "pebble") {
			return "presence.url names Redis, which is for several processes: they need --log kafka://… and --store cql://… too"
		}
		if !c.Clustered() && (c.Pipeline.URL != "local" || c.Store.URL != "pebble") {
			return "the log or the store is shared, so other processes may hold sessions: set --presence redis://… too"
		}
		return ""
	}},
	{[]string{"pipeline.url"}, func(c *Config) string {
		return backendFault("pipeline.url", "local", "kafka", c.Pipeline.URL)
	}},
	{[]string{"store.url"}, func(c *Config) string {
		return backendFault("store.url", "pebble", "cql", c.Store.URL)
	}},
	{[]string{"presence.url"}, func(c *Config) string {
		text := c.Presence.URL
		u, err := url.Parse(text)
		if text != "memory" && (err != nil || u.Host == "" || u.Scheme != "redis" && u.Scheme != "rediss") {
			return fmt.Sprintf("presence.url: %q: write redis://host:port, rediss://host:port, or memory", redacted(text))
		}
		if _, set := u.User.Password(); set {
			return fmt.Sprintf("presence.url: %q holds a password, which process lists show: put it into redis.password_file", redacted(text))
		}
		return ""
	}},
	{[]string{"kafka.sasl", "kafka.user", "kafka.password_file"}, func(c *Config) string {
		if (c.Kafka.SASL != "none") != (c.Kafka.User != "" && c.Kafka.PasswordFile != "") {
			return "kafka.sasl, kafka.user and kafka.password_file go together"
		}
		return ""
	}},
	{[]string{"presence.url", "rpc.ca", "rpc.cert", "rpc.key", "rpc.plaintext"}, func(c *Config) string {
		files := c.RPC.Certs.CA != "" && c.RPC.Certs.Cert != "" && c.RPC.Certs.Key != ""
		if c.Clustered() && files == c.RPC.Plaintext {
			return "processes need rpc.ca, rpc.cert and rpc.key (rookery admin certs makes them) to know each other, or, on one machine, rpc.plaintext"
		}
		return ""
	}},
	{[]string{"data"}, func(c *Config) string {
		if c.Data == "" {
			return "data is empty; it names the folder everything is kept in"
		}
		return ""
	}},
	{[]string{"auth.algorithms"}, func(c *Config) string {
		if len(c.Auth.Algorithms) == 0 {
			return "auth.algorithms is empty; nobody could connect"
		}
		return ""
	}},
	{[]string{"listen", "listen_proxy", "auth.algorithms", "auth.dev_key"}, func(c *Config) string {
		if c.UseDevKey() && len(c.Auth.Algorithms) > 0 && !slices.Contains(c.Auth.Algorithms, "EdDSA") {
			return "auth.algorithms leaves out EdDSA, with which the development key signs: add it, or set auth.dev_key to false"
		}
		return ""
	}},
	{[]string{"listen", "listen_proxy", "auth.keys", "auth.dev_key"}, func(c *Config) string {
		if c.Auth.Keys == "" && !c.UseDevKey() {
			return fmt.Sprintf("nobody could connect to %s: set auth.keys to a key set, or auth.dev_key to true to take the development key beyond loopback, or through a balancer, too", c.Listen)
		}
		return ""
	}},
	{[]string{"auth.origins"}, func(c *Config) string {
		for _, o := range c.Auth.Origins {
			if u, err := url.Parse(o); o != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.Path != "") {
				return fmt.Sprintf("auth.origins: %q is no origin: write https://host or https://host:port, or *", o)
			}
		}
		return ""
	}},
	{[]string{"session.heartbeat", "session.idle"}, func(c *Config) string {
		if c.Session.Idle < 2*c.Session.Heartbeat {
			return "session.idle has to be at least twice session.heartbeat, or sessions end that only kept silent"
		}
		return ""
	}},
	{[]string{"session.content_bytes", "session.message_bytes"}, func(c *Config) string {
		if c.Session.MessageBytes < c.Session.ContentBytes+envelopeBytes {
			return fmt.Sprintf("session.message_bytes has to be at least session.content_bytes and %d, or the largest content fits in no message", envelopeBytes)
		}
		return ""
	}},
	{[]string{"session.content_bytes", "shard.batch_bytes"}, func(c *Config) string {
		if c.Shard.BatchBytes < c.Session.ContentBytes {
			return "shard.batch_bytes has to be at least session.content_bytes"
		}
		return ""
	}},
	{[]string{"session.window_bytes", "engine.out_bytes_per_connection"}, func(c *Config) string {
		if c.Session.WindowBytes > c.Engine.OutBytesPerConnection {
			return "session.window_bytes has to be at most engine.out_bytes_per_connection, or slow readers are cut off before they fall into catch-up"
		}
		return ""
	}},
	{[]string{"engine.out_bytes_per_connection", "engine.out_bytes_total"}, func(c *Config) string {
		if int64(c.Engine.OutBytesPerConnection) > c.Engine.OutBytesTotal {
			return "engine.out_bytes_total has to be at least engine.out_bytes_per_connection"
		}
		return ""
	}},
	{[]string{"session.rate_messages", "session.rate_burst"}, func(c *Config) string {
		if c.Session.RateBurst < c.Session.RateMessages/100 {
			return "session.rate_burst has to be at least a hundredth of session.rate_messages, or the rate is never reached"
		}
		return ""
	}},
	{[]string{"retention.inbox", "retention.messages"}, func(c *Config) string {
		if c.Retention.Messages < c.Retention.Inbox {
			return "retention.messages has to be at least retention.inbox, or devices are promised what is gone"
		}
		return ""
	}},
	{[]string{"drain.url"}, func(c *Config) string {
		u, err := url.Parse(c.Drain.URL)
		if c.Drain.URL != "" && (err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "") {
			return fmt.Sprintf("drain.url: %q is no ws:// or wss:// URL", c.Drain.URL)
		}
		return ""
	}},
}

// envelopeBytes is what a send may need beside its content.
const envelopeBytes = 512

// backendFault says what is wrong with the URL of a back end.
func backendFault(key, embedded, scheme, text string) string {
	if text == embedded {
		return ""
	}
	if _, err := ParseBackend(scheme, text); err != nil {
		return fmt.Sprintf("%s: %v; or %s", key, err, embedded)
	}
	return ""
}

func (c *Config) crossCheck(l *loader) {
	faulty := func(key string) bool {
		return slices.ContainsFunc(l.faults, func(f Fault) bool { return f.Key == key })
	}
	var found Faults
	for _, check := range crossChecks {
		if slices.ContainsFunc(check.keys, faulty) {
			continue
		}
		if text := check.fault(c); text != "" {
			found = append(found, Fault{Key: check.keys[0], Text: text})
		}
	}
	l.faults = append(l.faults, found...)
}
