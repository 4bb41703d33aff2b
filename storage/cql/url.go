package cql

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// setters are what a URL's query may say, beside hosts and keyspace. Secrets are
// not among them: URLs are logged.
var setters = map[string]func(o *Options, value string) error{
	"dc":               func(o *Options, v string) error { o.DC = v; return nil },
	"rack":             func(o *Options, v string) error { o.Rack = v; return nil },
	"consistency":      func(o *Options, v string) error { o.Consistency = strings.ToUpper(v); return nil },
	"user":             func(o *Options, v string) error { o.User = v; return nil },
	"tls":              func(o *Options, v string) (err error) { o.Secure, err = strconv.ParseBool(v); return err },
	"shard_aware_port": setShardAwarePort,
	"connections":      func(o *Options, v string) error { return setInt(&o.Connections, v) },
	"in_flight":        func(o *Options, v string) error { return setInt(&o.InFlight, v) },
	"retries":          func(o *Options, v string) error { return setInt(&o.Retries, v) },
	"speculations":     func(o *Options, v string) error { return setInt(&o.Speculations, v) },
	"speculate_after":  func(o *Options, v string) error { return setDuration(&o.SpeculateAfter, v) },
	"connect_timeout":  func(o *Options, v string) error { return setDuration(&o.ConnectTimeout, v) },
	"timeout":          func(o *Options, v string) error { return setDuration(&o.Timeout, v) },
	"batch_rows":       func(o *Options, v string) error { return setInt(&o.BatchRows, v) },
	"batch_bytes":      func(o *Options, v string) error { return setInt(&o.BatchBytes, v) },
	"sweep_refresh":    func(o *Options, v string) error { return setDuration(&o.SweepRefresh, v) },
}

// setInt sets a count; 0, which Options take for the default, is none.
func setInt(to *int, v string) (err error) {
	if *to, err = strconv.Atoi(v); *to == 0 {
		*to = -1
	}
	return err
}

func setDuration(to *time.Duration, v string) (err error) {
	if *to, err = time.ParseDuration(v); err == nil && *to <= 0 {
		err = fmt.Errorf("%q is no time to wait", v)
	}
	return err
}

func setShardAwarePort(o *Options, v string) error {
	on, err := strconv.ParseBool(v)
	o.NoShardAwarePort = !on
	return err
}

// ParseURL reads cql://host:port,host2:port/keyspace?dc=…&rack=…&consistency=….
// Errors report all faults together, those of Validate too.
func ParseURL(s string) (Options, error) {
	var o Options
	rest, ok := strings.CutPrefix(s, "cql://")
	if !ok {
		return o, fmt.Errorf("storage/cql: %q is no URL of the form cql://HOST:PORT,HOST:PORT/KEYSPACE", s)
	}
	rest, query, _ := strings.Cut(rest, "?")
	hosts, keyspace, _ := strings.Cut(rest, "/")
	if strings.Contains(hosts, "@") {
		return o, errors.New("storage/cql: the store's URL has a password or user before @: name the user by ?user=, and the password's file in its setting")
	}
	o.Hosts = slices.DeleteFunc(strings.Split(hosts, ","), func(h string) bool { return h == "" })
	o.Keyspace = strings.TrimSuffix(keyspace, "/")
	values, err := url.ParseQuery(query)
	if err != nil {
		return o, fmt.Errorf("storage/cql: the store's URL: %w", err)
	}
	var faults []error
	for name, vs := range values {
		set, known := setters[name]
		if !known {
			faults = append(faults, fmt.Errorf("storage/cql: the store's URL has ?%s=, it may have %s", name, strings.Join(settingNames(), ", ")))
			continue
		}
		if err := set(&o, vs[len(vs)-1]); err != nil {
			faults = append(faults, fmt.Errorf("storage/cql: the store's URL has ?%s=%s: %w", name, vs[len(vs)-1], err))
		}
	}
	return o, errors.Join(append(faults, o.Validate())...)
}

func settingNames() []string {
	var names []string
	for name := range setters {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
