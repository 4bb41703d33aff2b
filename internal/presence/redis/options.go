package redis

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/rookery-chat/rookery/internal/presence"
)

// Options are the settings of a Directory.
type Options struct {
	// URL names the server: redis://[user@]host:port[/db], or rediss:// for
	// TLS. More nodes of a cluster follow as ?addr=host:port&addr=… Redis has to
	// be 7 or later.
	URL string
	// PasswordFile holds the password; it is read again for each connection.
	PasswordFile string
	// CAFile holds the authorities of the server's certificate, in PEM. The
	// system's are the default.
	CAFile string
	// CertFile and KeyFile hold this side's certificate, if the server asks.
	CertFile, KeyFile string
	// Prefix begins every key and channel. Default "rookery:".
	Prefix string

	// Gateway is this process's name, the same in every life. A process without
	// one holds no lease and registers nothing.
	Gateway string
	// Address is where other processes reach the gateway, host:port.
	Address string
	// Lease is how long the gateway counts as alive after its last renewal.
	// Default 10 s.
	Lease time.Duration

	// Timeout is how long a call waits for an answer. Default 100 ms.
	Timeout time.Duration
	// Reregister is how many sessions a second are registered in the
	// background. Default 5,000.
	Reregister int
	// Pending is how many failed calls are kept to be made again. When there
	// are more, everything is registered anew. Default 65,536.
	Pending int
	// CacheFor is how long a location is kept here unless it changes. Default
	// 10 min.
	CacheFor time.Duration
	// CacheBytes bounds what is kept here. Default 64 MiB.
	CacheBytes int
	// Keep is how long the server keeps an entry that nobody renews; entries
	// of living sessions are renewed twice in it. Default 7 days.
	Keep time.Duration

	Handler presence.Handler
	Logger  *slog.Logger // default slog.Default()
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func (o *Options) setDefaults() {
	set(&o.Prefix, "rookery:")
	set(&o.Lease, 10*time.Second)
	set(&o.Timeout, 100*time.Millisecond)
	set(&o.Reregister, 5000)
	set(&o.Pending, 1<<16)
	set(&o.CacheFor, 10*time.Minute)
	set(&o.CacheBytes, 64<<20)
	set(&o.Keep, 7*24*time.Hour)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

func set[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Validate reports every fault. Zero values stand for their defaults.
func (o Options) Validate() error {
	o.setDefaults()
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("presence on Redis: "+format, args...))
		}
	}
	if err := o.checkURL(); err != nil {
		faults = append(faults, fmt.Errorf("presence on Redis: %w", err))
	}
	fault(strings.ContainsAny(o.Prefix, "{} \r\n"), "the prefix %q has a brace or a blank: use another", o.Prefix)
	fault(o.Gateway != "" && !nameForm.MatchString(o.Gateway), "the gateway's name %q: use 1 to 64 letters, digits and ._-", o.Gateway)
	if o.Gateway != "" {
		_, _, err := net.SplitHostPort(o.Address)
		fault(err != nil, "the gateway's address %q: give the host:port where other processes reach it", o.Address)
	}
	fault(o.Lease < time.Second || o.Lease > time.Hour, "a lease of %v: use 1 s to 1 h", o.Lease)
	fault(o.Timeout < time.Millisecond || o.Timeout > time.Minute, "a time limit of %v: use 1 ms to 1 min", o.Timeout)
	fault(o.Reregister < 1, "%d registrations a second: use at least 1", o.Reregister)
	fault(o.Pending < 1, "%d failed calls kept: use at least 1", o.Pending)
	fault(o.CacheFor < time.Second, "locations cached for %v: use at least 1 s", o.CacheFor)
	fault(o.CacheBytes < 1<<20, "a cache of %d bytes: use at least 1 MiB", o.CacheBytes)
	fault(o.Keep < 10*time.Second, "entries kept for %v: use at least 10 s", o.Keep)
	fault((o.CertFile == "") != (o.KeyFile == ""), "a certificate needs its key, and a key its certificate: give both files")
	return errors.Join(faults...)
}

func (o *Options) checkURL() error {
	u, err := url.Parse(o.URL)
	if err != nil {
		return errors.New("the URL cannot be read: use redis://host:port or rediss://host:port")
	}
	if u.Scheme != "redis" && u.Scheme != "rediss" || u.Hostname() == "" {
		return fmt.Errorf("the URL %s: use redis://host:port or rediss://host:port", u.Redacted())
	}
	if _, ok := u.User.Password(); ok {
		return errors.New("the URL holds a password, which process lists show: put it into a file and name that")
	}
	if u.Scheme == "redis" && (o.CAFile != "" || o.CertFile != "") {
		return errors.New("certificates are set, but redis:// does not encrypt: use rediss://")
	}
	for key := range u.Query() {
		if key != "addr" {
			return fmt.Errorf("the URL sets %q: only addr is known", key)
		}
	}
	_, err = rueidis.ParseURL(o.URL)
	return err
}

// What a connection is made with.
const (
	connectTimeout = time.Second // to connect and say hello
	pingEvery      = time.Second // of silence
	stallTimeout   = time.Second // until a connection that answers nothing is dropped
	ringScale      = 9           // 2^9 calls may be under way on a connection, more than maxCalls
	bufferBytes    = 64 << 10    // each way of a connection
)

// client makes the driver's options. It reads the certificates.
func (o *Options) client() (rueidis.ClientOption, error) {
	c, err := rueidis.ParseURL(o.URL)
	if err != nil {
		return c, err
	}
	if c.TLSConfig != nil {
		if err := o.certificates(c.TLSConfig); err != nil {
			return c, err
		}
	}
	c.Dialer = net.Dialer{Timeout: connectTimeout, KeepAlive: pingEvery}
	c.ConnWriteTimeout = stallTimeout
	c.RingScaleEachConn = ringScale
	c.ReadBufferEachConn, c.WriteBufferEachConn = bufferBytes, bufferBytes
	c.CacheSizeEachConn = o.CacheBytes
	c.PipelineMultiplex = -1  // one connection a node: batches are large, and the server has one thread
	c.AlwaysPipelining = true // else a slow answer costs the connection
	c.DisableRetry = true     // the breaker decides
	c.ClientName = "rookery"
	user := c.Username
	c.AuthCredentialsFn = func(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
		password, err := o.password()
		return rueidis.AuthCredentials{Username: user, Password: password}, err
	}
	return c, nil
}

func (o *Options) password() (string, error) {
	if o.PasswordFile == "" {
		return "", nil
	}
	b, err := os.ReadFile(o.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("the password of Redis cannot be read: %w", err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

func (o *Options) certificates(c *tls.Config) error {
	c.MinVersion = tls.VersionTLS12
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return fmt.Errorf("the authorities for Redis cannot be read: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s holds no certificate in PEM", o.CAFile)
		}
	}
	if o.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return fmt.Errorf("this side's certificate for Redis cannot be read: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return nil
}

// Rights is what a login has to be allowed, on the prefix's keys and channels.
const Rights = "+@connection +@scripting +eval +evalsha +get +set +del +pexpire +pttl +time " +
	"+hget +hset +hdel +hvals +hgetall +hlen +sadd +srem +smembers " +
	"+spublish +ssubscribe +sunsubscribe +multi +exec +cluster|slots +cluster|shards"
