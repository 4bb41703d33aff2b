// Package backend makes the options of Kafka, CQL, Redis and the links between
// processes from the configuration: for serve, and for the commands that look
// after these servers.
package backend

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/rookery-chat/rookery/internal/certs"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/presence/redis"
	"github.com/rookery-chat/rookery/pipeline/kafka"
	"github.com/rookery-chat/rookery/storage/cql"
)

// Kafka returns the options of the log that pipeline.url names.
func Kafka(c *config.Config, logger *slog.Logger) (kafka.Options, error) {
	u, err := config.ParseBackend("kafka", c.Pipeline.URL)
	if err != nil {
		return kafka.Options{}, fmt.Errorf("pipeline.url: %w", err)
	}
	k := &c.Kafka
	o := kafka.Options{
		Brokers: u.Hosts, Prefix: u.Name, Group: k.Group, Linger: k.Linger, BatchBytes: k.BatchBytes,
		Compression: k.Compression, PartitionBytes: min(c.Pipeline.PartitionBytes, k.BufferedBytes), BufferedBytes: k.BufferedBytes,
		ReadBytes: 2 * c.Shard.BatchBytes, SessionTimeout: k.SessionTimeout, Logger: logger,
	}
	if k.Linger == 0 {
		o.Linger = -1
	}
	if k.TLS.On {
		o.TLS = &kafka.TLS{CAFile: k.TLS.CA, CertFile: k.TLS.Cert, KeyFile: k.TLS.Key}
	}
	if k.SASL != "none" {
		o.SASL = &kafka.SASL{Mechanism: k.SASL, User: k.User, PasswordFile: k.PasswordFile}
	}
	return o, o.Validate()
}

// CQL returns the options of the store that store.url names.
func CQL(c *config.Config, logger *slog.Logger) (cql.Options, error) {
	u, err := config.ParseBackend("cql", c.Store.URL)
	if err != nil {
		return cql.Options{}, fmt.Errorf("store.url: %w", err)
	}
	s := &c.CQL
	password, err := config.Password(s.PasswordFile)
	if err != nil {
		return cql.Options{}, fmt.Errorf("cql.password_file: %w", err)
	}
	o := cql.Options{
		Hosts: u.Hosts, Keyspace: u.Name, DC: s.DC, Rack: s.Rack, Consistency: s.Consistency,
		User: s.User, Password: password,
		Connections: s.Connections, NoShardAwarePort: s.NoShardPort, InFlight: s.InFlight,
		ConnectTimeout: s.ConnectTimeout, Timeout: s.Timeout, Retries: orNone(s.Retries),
		Speculations: orNone(s.Speculations), SpeculateAfter: s.SpeculateAfter,
		BatchRows: s.BatchRows, BatchBytes: s.BatchBytes, InboxRuns: s.InboxRuns,
		MessagesFor: c.Retention.Messages, InboxFor: c.Retention.Inbox, Logger: logger,
	}
	if s.TLS.On {
		o.Secure, o.CAFile, o.CertFile, o.KeyFile = true, s.TLS.CA, s.TLS.Cert, s.TLS.Key
	}
	return o, o.Validate()
}

// orNone says -1 for none, as the zero of an option is its default.
func orNone(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// Redis returns the options of the directory that presence.url names, without
// the gateway's own name and address.
func Redis(c *config.Config, logger *slog.Logger) (redis.Options, error) {
	r := &c.Redis
	o := redis.Options{
		URL: c.Presence.URL, PasswordFile: r.PasswordFile, CAFile: r.Certs.CA, CertFile: r.Certs.Cert, KeyFile: r.Certs.Key,
		Prefix: r.Prefix + ":", Lease: r.Lease, Timeout: r.Timeout, Reregister: r.Reregister, Logger: logger,
	}
	return o, o.Validate()
}

// Certs reads the certificates by which processes know each other; nil is
// without.
func Certs(c *config.Config, logger *slog.Logger) (*certs.Source, error) {
	if c.RPC.Plaintext {
		return nil, nil
	}
	f := c.RPC.Certs
	return certs.Open(certs.Files{CA: f.CA, Cert: f.Cert, Key: f.Key}, "", logger)
}

// ID is the name of this process among the others, which reach it at an address.
func ID(c *config.Config, rpc net.Addr) string {
	if c.ID != "" {
		return c.ID
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "gateway"
	}
	_, port, _ := net.SplitHostPort(rpc.String())
	return strings.Trim(host, ".") + "-" + port
}
