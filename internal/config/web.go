package config

import (
	"fmt"
	"net"
	"net/url"
	"time"
)

// Web is the listener for browsers and services.
type Web struct {
	Listen        string // host:port
	Cert          string // files, "" for HTTP in the clear
	Key           string
	URL           string // "" is where it listens
	Sockets       string // "" is the port of Config.Listen
	Connections   int
	HeaderTimeout time.Duration
	Timeout       time.Duration
}

var webKeys = []Key{
	{Name: "web.listen", Kind: Address, Default: "127.0.0.1:8082", flag: "web",
		Doc:   "Address of the chat page, media and the API for services. Port 0 takes a free one. A processor has none.",
		field: func(c *Config) any { return &c.Web.Listen }},
	{Name: "web.cert", Kind: Text, Default: "",
		Doc:   "File with this listener's certificate, PEM; without one it speaks HTTP in the clear, for loopback or a balancer that ends TLS. Read again when it changes.",
		field: func(c *Config) any { return &c.Web.Cert }},
	{Name: "web.key", Kind: Text, Default: "",
		Doc:   "File with its key, PEM.",
		field: func(c *Config) any { return &c.Web.Key }},
	{Name: "web.url", Kind: Text, Default: "",
		Doc:   "URL by which users reach it, such as https://chat.example.org; empty is where it listens. Its pages may connect to the sockets.",
		field: func(c *Config) any { return &c.Web.URL }},
	{Name: "web.sockets", Kind: Text, Default: "",
		Doc:   "URL by which its pages reach the sockets, such as wss://chat.example.org; empty is the port of listen at the same host.",
		field: func(c *Config) any { return &c.Web.Sockets }},
	{Name: "web.connections", Kind: Int, Default: "4096", Min: 1, Max: 1_000_000, Unit: "connections",
		Doc:   "Connections open at once; more wait to be accepted.",
		field: func(c *Config) any { return &c.Web.Connections }},
	{Name: "web.header_timeout", Kind: Duration, Default: "5s", Min: 100 * ms, Max: 300 * second,
		Doc:   "Time for a request's headers.",
		field: func(c *Config) any { return &c.Web.HeaderTimeout }},
	{Name: "web.timeout", Kind: Duration, Default: "30s", Min: 100 * ms, Max: hour,
		Doc:   "Time for a request's body, and for taking its answer.",
		field: func(c *Config) any { return &c.Web.Timeout }},
}

// webChecks are the rules between the keys of the web listener.
var webChecks = []crossCheck{
	{[]string{"web.listen", "listen", "admin"}, func(c *Config) string {
		if _, port, _ := net.SplitHostPort(c.Web.Listen); port != "0" && (c.Web.Listen == c.Listen || c.Web.Listen == c.Admin) {
			return "web.listen is the same address as listen or admin; users never face admin, and the sockets speak nothing but WebSocket"
		}
		return ""
	}},
	{[]string{"web.cert", "web.key"}, func(c *Config) string {
		if (c.Web.Cert == "") != (c.Web.Key == "") {
			return "web.cert and web.key go together"
		}
		return ""
	}},
	{[]string{"web.url"}, func(c *Config) string { return urlFault("web.url", c.Web.URL, "http", "https") }},
	{[]string{"web.sockets"}, func(c *Config) string { return urlFault("web.sockets", c.Web.Sockets, "ws", "wss") }},
}

// urlFault says why a URL is not one of two schemes and a host alone.
func urlFault(key, text, scheme, secure string) string {
	u, err := url.Parse(text)
	if text == "" || err == nil && (u.Scheme == scheme || u.Scheme == secure) && u.Host != "" && u.User == nil && u.Path == "" && u.RawQuery == "" && u.Fragment == "" {
		return ""
	}
	return fmt.Sprintf("%s: %q: write %s://host or %s://host:port", key, text, secure, scheme)
}
