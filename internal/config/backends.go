package config

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"
)

// Presence is who is where.
type Presence struct {
	URL string // "memory", or redis://host:port
}

// Certs are files with certificates, PEM.
type Certs struct {
	CA   string // the authorities that are trusted
	Cert string // this side's
	Key  string
}

// TLS is how a server of others is reached and known.
type TLS struct {
	On bool
	Certs
}

// Kafka is the log where it is on Kafka.
type Kafka struct {
	SASL           string // none, plain, scram-sha-256, scram-sha-512
	User           string
	PasswordFile   string
	TLS            TLS
	Group          string // "" is the topics' prefix
	Linger         time.Duration
	BatchBytes     int
	BufferedBytes  int64
	Compression    string // none, lz4, zstd, snappy, gzip
	SessionTimeout time.Duration
}

// CQL is the store where it is on ScyllaDB or Cassandra.
type CQL struct {
	User           string
	PasswordFile   string
	TLS            TLS
	DC             string
	Rack           string
	Consistency    string
	Connections    int
	InFlight       int
	ConnectTimeout time.Duration
	Timeout        time.Duration
	Retries        int
	Speculations   int
	SpeculateAfter time.Duration
	BatchRows      int
	BatchBytes     int
	NoShardPort    bool
	InboxRuns      bool
}

// Redis is presence where it is on Redis.
type Redis struct {
	PasswordFile string
	Certs        Certs
	Prefix       string
	Lease        time.Duration
	Timeout      time.Duration
	Reregister   int // sessions a second
}

// RPC is how processes reach each other.
type RPC struct {
	Listen    string // host:port
	Advertise string // host:port, "" is Listen
	Certs     Certs
	Plaintext bool
}

// Push is how devices are told that something waits for them.
type Push struct {
	FCMCredentials string // files
	FCMProject     string
	APNsKey        string
	APNsKeyID      string
	APNsTeamID     string
	APNsTopic      string
	APNsSandbox    bool
	WebhookSecret  string
	WebhookHosts   []string
	WebhookAllow   []string // networks

	Entries int
	Delay   time.Duration
	Every   time.Duration
	Burst   int
	Workers int
	Tries   int
	MaxAge  time.Duration
}

// Gateway reports whether the process holds sessions.
func (c *Config) Gateway() bool { return c.Role != "processor" }

// Processor reports whether the process owns partitions.
func (c *Config) Processor() bool { return c.Role != "gateway" }

// Clustered reports whether there may be other processes.
func (c *Config) Clustered() bool { return c.Presence.URL != "memory" }

// Backend is the address of a server of others: its hosts, and what follows the
// slash.
type Backend struct {
	User  string
	Hosts []string
	Name  string // a prefix of topics, a keyspace
}

// ParseBackend reads scheme://[user@]host:port[,host:port…][/name]. A password
// does not belong into it, as process lists show it.
func ParseBackend(scheme, text string) (Backend, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != scheme || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return Backend{}, fmt.Errorf("%q: write %s://host:port,host:port/name", redacted(text), scheme)
	}
	if _, set := u.User.Password(); set {
		return Backend{}, fmt.Errorf("%q holds a password, which process lists show: put it into a file, and name that", redacted(text))
	}
	a := Backend{User: u.User.Username(), Name: strings.Trim(u.Path, "/")}
	for host := range strings.SplitSeq(u.Host, ",") {
		if host == "" {
			return a, fmt.Errorf("%q: a host is empty", text)
		}
		a.Hosts = append(a.Hosts, host)
	}
	return a, nil
}

func redacted(text string) string {
	if u, err := url.Parse(text); err == nil {
		return u.Redacted()
	}
	before, after, found := strings.Cut(text, "@")
	if !found {
		return text
	}
	scheme, _, _ := strings.Cut(before, "://")
	return scheme + "://…@" + after
}

// Password reads a file that holds one, "" when there is none.
func Password(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("the password cannot be read: %w", err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}
