package kafka

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// ParseURL reads options from
//
//	kafka://[user@]host:port[,host:port…][/prefix][?setting=value&…]
//
// kafkas:// is the same with TLS. The settings are those of settings below. A
// password in the URL is refused, as URLs are logged: password_file names the
// file it stands in.
func ParseURL(s string) (Options, error) {
	var o Options
	scheme, rest, _ := strings.Cut(s, "://")
	if scheme != "kafka" && scheme != "kafkas" {
		return o, fmt.Errorf("kafka log: the URL has to begin with kafka:// or kafkas://")
	}
	if scheme == "kafkas" {
		o.TLS = &TLS{}
	}
	// By hand: net/url takes one host only.
	rest, query, _ := strings.Cut(rest, "?")
	hosts, prefix, _ := strings.Cut(rest, "/")
	if user, after, found := strings.Cut(hosts, "@"); found {
		if strings.Contains(user, ":") {
			return o, errors.New("kafka log: the URL has a password, put it into a file and name that with password_file=")
		}
		name, err := url.PathUnescape(user)
		if err != nil {
			return o, fmt.Errorf("kafka log: the user in the URL: %w", err)
		}
		o.SASL, hosts = &SASL{Mechanism: ScramSHA512, User: name}, after
	}
	for host := range strings.SplitSeq(hosts, ",") {
		if host == "" {
			continue
		}
		if !strings.Contains(host, ":") {
			host += ":9092"
		}
		o.Brokers = append(o.Brokers, host)
	}
	o.Prefix = strings.TrimSuffix(prefix, "/")
	values, err := url.ParseQuery(query)
	if err != nil {
		return o, fmt.Errorf("kafka log: the settings in the URL: %w", err)
	}
	var faults []error
	for name, value := range values {
		set, ok := settings[name]
		if !ok {
			err = fmt.Errorf("kafka log: there is no setting %q in the URL", name)
		} else if err = set(&o, value[len(value)-1]); err != nil {
			err = fmt.Errorf("kafka log: setting %s in the URL: %w", name, err)
		}
		faults = append(faults, err)
	}
	if err := errors.Join(faults...); err != nil {
		return o, err
	}
	return o, o.Validate()
}

// settings are what a URL may set beyond brokers, user and prefix.
var settings = map[string]func(*Options, string) error{
	"partitions":      number(func(o *Options, n int64) { o.Partitions = int(n) }),
	"client_id":       text(func(o *Options, s string) { o.ClientID = s }),
	"linger":          span(func(o *Options, d time.Duration) { o.Linger = d }),
	"batch_bytes":     number(func(o *Options, n int64) { o.BatchBytes = int(n) }),
	"compression":     text(func(o *Options, s string) { o.Compression = s }),
	"partition_bytes": number(func(o *Options, n int64) { o.PartitionBytes = n }),
	"buffered_bytes":  number(func(o *Options, n int64) { o.BufferedBytes = n }),
	"stall_after":     span(func(o *Options, d time.Duration) { o.StallAfter = d }),
	"read_bytes":      number(func(o *Options, n int64) { o.ReadBytes = int(n) }),
	"group":           text(func(o *Options, s string) { o.Group = s }),
	"session_timeout": span(func(o *Options, d time.Duration) { o.SessionTimeout = d }),
	"commit_every":    span(func(o *Options, d time.Duration) { o.CommitEvery = d }),
	"close_timeout":   span(func(o *Options, d time.Duration) { o.CloseTimeout = d }),
	"tls_ca":          text(func(o *Options, s string) { o.tls().CAFile = s }),
	"tls_cert":        text(func(o *Options, s string) { o.tls().CertFile = s }),
	"tls_key":         text(func(o *Options, s string) { o.tls().KeyFile = s }),
	"tls_server_name": text(func(o *Options, s string) { o.tls().ServerName = s }),
	"sasl":            text(func(o *Options, s string) { o.sasl().Mechanism = s }),
	"password_file":   text(func(o *Options, s string) { o.sasl().PasswordFile = s }),
}

// tls is TLS, which a setting of it switches on.
func (o *Options) tls() *TLS {
	if o.TLS == nil {
		o.TLS = &TLS{}
	}
	return o.TLS
}

func (o *Options) sasl() *SASL {
	if o.SASL == nil {
		o.SASL = &SASL{Mechanism: ScramSHA512}
	}
	return o.SASL
}

func text(set func(*Options, string)) func(*Options, string) error {
	return func(o *Options, s string) error { set(o, s); return nil }
}

func number(set func(*Options, int64)) func(*Options, string) error {
	return func(o *Options, s string) error {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", s)
		}
		set(o, n)
		return nil
	}
}

func span(set func(*Options, time.Duration)) func(*Options, string) error {
	return func(o *Options, s string) error {
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf("%q is not a duration like 5ms", s)
		}
		set(o, d)
		return nil
	}
}
