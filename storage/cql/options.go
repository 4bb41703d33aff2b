package cql

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/gocql/gocql"

	"github.com/rookery-chat/rookery/chat"
)

// Options of a store. The zero value of each field but Hosts and Keyspace means
// its default.
type Options struct {
	// Hosts are where to ask for the cluster first, "host" or "host:port". All
	// of them have the same port, which is that of every node; 9042 when none is named.
	Hosts []string

	// Keyspace holds the tables.
	Keyspace string

	// DC is the data centre of this process. With it requests go to that one
	// alone; without it to all nodes alike. Rack, inside DC, is asked first.
	DC, Rack string

	// Consistency of reads and writes: LOCAL_QUORUM, QUORUM, EACH_QUORUM, ALL,
	// or, where a single copy is all there is, LOCAL_ONE or ONE.
	// Default LOCAL_QUORUM.
	Consistency string

	// User and Password log in; empty is no log-in.
	User, Password string

	// TLS, when one of the three names a file. CAFile holds the authorities that
	// are trusted (default: the system's); CertFile and KeyFile are what this
	// process shows. Secure asks for TLS without any of them.
	Secure                    bool
	CAFile, CertFile, KeyFile string

	// Connections to each node (on ScyllaDB: to each shard, one at least).
	// Default 2, at most 64.
	Connections int

	// NoShardAwarePort keeps away from ScyllaDB's shard-aware port (19042), for
	// networks that do not let it through.
	NoShardAwarePort bool

	// InFlight is how many requests are under way at once, for each node that
	// is up. Default 128, at most 4096.
	InFlight int

	// ConnectTimeout is for making a connection, Timeout for one request; the
	// latter has to be longer than the server's own. Defaults 5 s and 10 s.
	ConnectTimeout, Timeout time.Duration

	// Retries of a request on other nodes. Default 2, at most 10; -1 is none.
	Retries int

	// Speculations is how many other nodes a read is sent to when the first has
	// not answered after SpeculateAfter. Default 1 after 200 ms; -1 is none.
	Speculations   int
	SpeculateAfter time.Duration

	// BatchRows and BatchBytes bound an unlogged batch; a row that is larger
	// goes alone. Defaults 100 rows and 64 KiB, at most 1000 and 512 KiB.
	BatchRows  int
	BatchBytes int

	// InboxRuns has the entries that a batch has for one inbox share a row, which
	// programs of before the schema's version 5 cannot read. Such rows are read
	// in any case.
	InboxRuns bool

	// MessagesFor and InboxFor are how long messages and inbox rows live, by
	// when they were taken in. Defaults 5 years and 30 days, at most
	// 19 years.
	MessagesFor, InboxFor time.Duration

	// SweepRefresh is how often to look what other processes have swept.
	// Default 30 s.
	SweepRefresh time.Duration

	// Now is the clock by which rows' lives are computed, ms since 1970.
	// Default chat.MillisNow.
	Now func() int64

	// Logger gets what the store and its driver have to say. Default slog.Default.
	Logger *slog.Logger
}

// Bounds and defaults of Options.
const (
	defaultPort           = 9042
	defaultConsistency    = "LOCAL_QUORUM"
	defaultConnections    = 2
	maxConnections        = 64
	defaultInFlight       = 128
	maxInFlight           = 4096
	defaultConnectTimeout = 5 * time.Second
	defaultTimeout        = 10 * time.Second
	defaultRetries        = 2
	maxRetries            = 10
	defaultSpeculations   = 1
	defaultSpeculateAfter = 200 * time.Millisecond
	defaultBatchRows      = 100
	maxBatchRows          = 1000
	defaultBatchBytes     = 64 << 10
	maxBatchBytes         = 512 << 10
	defaultMessagesFor    = 5 * 365 * day
	defaultInboxFor       = 30 * day
	maxFor                = 19 * 365 * day // the databases' own bound is 20 years
	defaultSweepRefresh   = 30 * time.Second

	day = 24 * time.Hour
)

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

func (o *Options) setDefaults() {
	orDefault(&o.Consistency, defaultConsistency)
	orDefault(&o.Connections, defaultConnections)
	orDefault(&o.InFlight, defaultInFlight)
	orDefault(&o.ConnectTimeout, defaultConnectTimeout)
	orDefault(&o.Timeout, defaultTimeout)
	orDefault(&o.Retries, defaultRetries)
	orDefault(&o.Speculations, defaultSpeculations)
	orDefault(&o.SpeculateAfter, defaultSpeculateAfter)
	orDefault(&o.BatchRows, defaultBatchRows)
	orDefault(&o.BatchBytes, defaultBatchBytes)
	orDefault(&o.MessagesFor, defaultMessagesFor)
	orDefault(&o.InboxFor, defaultInboxFor)
	orDefault(&o.SweepRefresh, defaultSweepRefresh)
	if o.Now == nil {
		o.Now = chat.MillisNow
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

// consistencies that may be asked for. ANY and the weaker ones of a cluster
// would show a gateway less than what an owner stored.
var consistencies = []string{"LOCAL_QUORUM", "QUORUM", "EACH_QUORUM", "ALL", "LOCAL_ONE", "ONE"}

// Validate reports all faults of the options together, nil when there is none.
// Zero values are defaults and no faults.
func (o Options) Validate() error {
	o.setDefaults()
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("storage/cql: "+format, args...))
	}
	if _, err := portOf(o.Hosts); err != nil {
		fault("%w", err)
	}
	if !isName(o.Keyspace) {
		fault("Keyspace is %q: a keyspace is 1 to 48 letters, digits and _, and begins with a letter", o.Keyspace)
	}
	if o.Rack != "" && o.DC == "" {
		fault("Rack is %q without a DC: name the data centre it is in", o.Rack)
	}
	if !slices.Contains(consistencies, o.Consistency) {
		fault("Consistency is %q, it has to be one of %s", o.Consistency, strings.Join(consistencies, ", "))
	}
	if o.Password != "" && o.User == "" {
		fault("there is a Password without a User")
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		fault("CertFile and KeyFile go together, there is only one of them")
	}
	for _, n := range []struct {
		name               string
		value, least, most int
	}{
		{"Connections", o.Connections, 1, maxConnections}, {"InFlight", o.InFlight, 1, maxInFlight},
		{"Retries", o.Retries, -1, maxRetries}, {"Speculations", o.Speculations, -1, maxRetries},
		{"BatchRows", o.BatchRows, 1, maxBatchRows}, {"BatchBytes", o.BatchBytes, 1 << 10, maxBatchBytes},
	} {
		if n.value < n.least || n.value > n.most {
			fault("%s is %d, it has to be %d to %d", n.name, n.value, n.least, n.most)
		}
	}
	for _, d := range []struct {
		name               string
		value, least, most time.Duration
	}{
		{"ConnectTimeout", o.ConnectTimeout, time.Millisecond, time.Hour}, {"Timeout", o.Timeout, time.Millisecond, time.Hour},
		{"SpeculateAfter", o.SpeculateAfter, time.Millisecond, time.Hour}, {"SweepRefresh", o.SweepRefresh, time.Millisecond, time.Hour},
		{"MessagesFor", o.MessagesFor, time.Second, maxFor}, {"InboxFor", o.InboxFor, time.Second, maxFor},
	} {
		if d.value < d.least || d.value > d.most {
			fault("%s is %v, it has to be %v to %v", d.name, d.value, d.least, d.most)
		}
	}
	return errors.Join(faults...)
}

// isName reports whether s can be a keyspace without quotes.
func isName(s string) bool {
	for i, c := range []byte(s) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 48
}

// portOf returns the port that all the hosts have.
func portOf(hosts []string) (int, error) {
	if len(hosts) == 0 {
		return 0, errors.New("no Hosts: name one node at least")
	}
	port := 0
	for _, h := range hosts {
		_, p, err := splitHost(h)
		if err != nil {
			return 0, err
		}
		if port != 0 && p != port {
			return 0, fmt.Errorf("the Hosts are %s: all nodes of a cluster have the same port", strings.Join(hosts, ","))
		}
		port = p
	}
	return port, nil
}

func splitHost(h string) (host string, port int, err error) {
	if !strings.Contains(h, ":") || strings.HasSuffix(h, "]") {
		h = net.JoinHostPort(strings.Trim(h, "[]"), fmt.Sprint(defaultPort))
	}
	host, p, err := net.SplitHostPort(h)
	if err == nil {
		port, err = net.LookupPort("tcp", p)
	}
	if err != nil || host == "" {
		return "", 0, fmt.Errorf("among the Hosts is %q: write HOST or HOST:PORT", h)
	}
	return host, port, nil
}

// cluster says the same to the driver.
func (o *Options) cluster() (*gocql.ClusterConfig, error) {
	port, err := portOf(o.Hosts)
	if err != nil {
		return nil, err
	}
	c := gocql.NewCluster(o.Hosts...)
	c.Port = port
	c.Keyspace = o.Keyspace
	c.ProtoVersion = 4 // both databases have it
	c.NumConns = o.Connections
	c.DisableShardAwarePort = o.NoShardAwarePort
	c.ConnectTimeout, c.Timeout, c.WriteTimeout = o.ConnectTimeout, o.Timeout, o.Timeout
	c.DefaultIdempotence = true // every statement here is: explicit timestamps, no counters, no lists
	c.SerialConsistency = gocql.LocalSerial
	c.ReconnectInterval = time.Second // of nodes that are down
	c.ReconnectionPolicy = &gocql.ConstantReconnectionPolicy{MaxRetries: 2, Interval: 50 * time.Millisecond}
	c.RetryPolicy = &gocql.SimpleRetryPolicy{NumRetries: max(o.Retries, 0)}
	c.PoolConfig.HostSelectionPolicy = gocql.TokenAwareHostPolicy(o.hostPolicy())
	c.Logger = driverLogger{o.Logger}
	if c.Consistency, err = gocql.ParseConsistencyWrapper(o.Consistency); err != nil {
		return nil, err
	}
	if o.User != "" {
		c.Authenticator = gocql.PasswordAuthenticator{Username: o.User, Password: o.Password}
	}
	if o.Secure || o.CAFile != "" || o.CertFile != "" {
		c.SslOpts = &gocql.SslOptions{CaPath: o.CAFile, CertPath: o.CertFile, KeyPath: o.KeyFile, EnableHostVerification: true}
	}
	return c, nil
}

// hostPolicy never leaves the data centre: there LOCAL_QUORUM would mean
// another quorum, which need not have what was written here.
func (o *Options) hostPolicy() gocql.HostSelectionPolicy {
	switch {
	case o.Rack != "":
		return gocql.RackAwareRoundRobinPolicy(o.DC, o.Rack, gocql.HostPolicyOptionDisableDCFailover)
	case o.DC != "":
		return gocql.DCAwareRoundRobinPolicy(o.DC, gocql.HostPolicyOptionDisableDCFailover)
	}
	return gocql.RoundRobinHostPolicy()
}

// driverLogger is the driver's log in ours.
type driverLogger struct{ log *slog.Logger }

func (l driverLogger) Print(v ...any)                 { l.log.Debug("store: " + strings.TrimSpace(fmt.Sprint(v...))) }
func (l driverLogger) Println(v ...any)               { l.Print(fmt.Sprintln(v...)) }
func (l driverLogger) Printf(format string, v ...any) { l.Print(fmt.Sprintf(format, v...)) }
