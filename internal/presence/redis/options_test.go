package redis

import (
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/internal/presence/presencetest"
	"github.com/rookery-chat/rookery/internal/services"
)

func TestValidate(t *testing.T) {
	good := Options{URL: "rediss://rookery@db.example:6379?addr=db2.example:6379", Gateway: "g1", Address: "g1.example:7000"}
	if err := good.Validate(); err != nil {
		t.Errorf("good options: %v", err)
	}
	bad := Options{
		URL: "http://db.example", Prefix: "{a}", Gateway: "g 1", Address: "nowhere", Lease: time.Millisecond, Timeout: time.Hour,
		Reregister: -1, Pending: -1, CacheFor: 1, CacheBytes: 1, Keep: 1, CertFile: "cert.pem",
	}
	err := bad.Validate()
	if err == nil {
		t.Fatal("all is wrong, and nothing is said")
	}
	if n := len(strings.Split(err.Error(), "\n")); n != 12 {
		t.Errorf("%d of 12 faults were said:\n%v", n, err)
	}
	for url, want := range map[string]string{
		"redis://u:secret@db.example":   "put it into a file",
		"redis://db.example?protocol=2": "only addr is known",
		"redis://db.example/x":          "database number",
		"redis://":                      "use redis://host:port",
		"redis://db.example:%zz":        "cannot be read",
	} {
		err := Options{URL: url}.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
	if err := (Options{URL: "redis://db.example", CAFile: "ca.pem"}).Validate(); err == nil {
		t.Error("certificates without encryption were taken")
	}
}

// TestLoginAndTLS holds that a server which asks for everything is satisfied,
// and that what is wrong is said.
func TestLoginAndTLS(t *testing.T) {
	all := services.Get(t)
	services.Redis(t)
	b := newBackend(t, all.Redis)
	b.url = "rediss://" + all.RedisUser + "@" + all.RedisTLS
	b.change = func(o *Options) {
		o.PasswordFile, o.CAFile = file(t, all.RedisPassword+"\n"), all.TLSCA
		o.CertFile, o.KeyFile = all.TLSCert, all.TLSKey
	}
	var s sessions
	g := b.join(t, "g1", s.handler())
	register(t, g, "bob", 1)
	g.Watch("bob")
	presencetest.Eventually(t, "heard", func() bool { return len(s.heard()) == 1 })
	if at(t, g, "bob") != 1 {
		t.Error("bob is not found")
	}
	for what, c := range map[string]struct {
		change func(o *Options)
		want   string
	}{
		"a wrong password":  {func(o *Options) { o.PasswordFile = file(t, "wrong") }, "WRONGPASS"},
		"no password":       {func(o *Options) { o.PasswordFile = "/nowhere" }, "the password of Redis cannot be read"},
		"another authority": {func(o *Options) { o.CAFile = "" }, "certificate"},
		"no encryption":     {func(o *Options) { o.URL, o.CAFile, o.CertFile, o.KeyFile = "redis://"+all.RedisTLS, "", "", "" }, ""},
		"the other's port":  {func(o *Options) { o.URL = "rediss://" + all.Redis }, ""},
		"no rights to write": {func(o *Options) {
			o.URL = "redis://" + reader(t, b, all) + "@" + all.Redis
			o.CAFile, o.CertFile, o.KeyFile = "", "", ""
		}, "NOPERM"},
	} {
		o := b.options("g1", presence.Handler{})
		c.change(&o)
		d, err := Open(o)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		presencetest.Eventually(t, what, func() bool {
			err := d.Health()
			return err != nil && strings.Contains(err.Error(), c.want) && !strings.Contains(err.Error(), "not connected yet")
		})
		d.Close()
	}
	o := b.options("g1", presence.Handler{})
	o.CAFile = file(t, "no certificate")
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "no certificate in PEM") {
		t.Errorf("a file that holds no authority: %v", err)
	}
}

// TestFewRights holds that a login needs no more than the documented rights.
func TestFewRights(t *testing.T) {
	server := services.Start(t, "redis")
	b := newBackend(t, server.Address)
	rights := append([]string{"ACL", "SETUSER", "few", "on", ">few", "resetkeys", "resetchannels", "~" + b.prefix + "*", "&" + b.prefix + "*", "-@all"},
		strings.Fields(Rights)...)
	b.admin(t, rights...)
	b.url = "redis://few@" + server.Address
	b.change = func(o *Options) { o.PasswordFile = file(t, "few") }
	presencetest.Run(t, func(*testing.T) presencetest.Backend {
		c := *b
		c.prefix += c.prefix[len(c.prefix)-8:]
		b.prefix = c.prefix
		return &c
	})
}

// reader makes a login that may only read.
func reader(t *testing.T, b *backend, all services.Servers) string {
	t.Helper()
	name := "reader-" + strings.Trim(b.prefix, ":")
	b.admin(t, "ACL", "SETUSER", name, "on", ">"+all.RedisPassword, "~*", "&*", "+@read", "+@connection")
	t.Cleanup(func() { b.admin(t, "ACL", "DELUSER", name) })
	return name
}
