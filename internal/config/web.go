package config

import (
	"fmt"
	"net"
	"net/url"
	"strings"
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
	Bots          int
}

// Media is where pictures and files lie.
type Media struct {
	URL         string // "file:DIR", "s3://bucket/prefix", "off"
	Endpoint    string // of S3
	Region      string
	Credentials string // a file
	Secret      string // a file, "" for one in the data folder
	CDN         string
	Bytes       int64
	Quota       int64
	Types       []string
	URLs        time.Duration
	Rate        int // requests a minute and user
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
	{Name: "web.bots", Kind: Int, Default: "256", Min: 1, Max: 100_000, Unit: "sessions",
		Doc:   "Sessions of the API for services open at once; over it requests are answered with busy. One ends when nothing was asked of it for two minutes.",
		field: func(c *Config) any { return &c.Web.Bots }},

	{Name: "media.url", Kind: Text, Default: "file", flag: "media",
		Doc:   "Where pictures and files lie: file, the folder media in the data folder; file:DIR, another one; s3://bucket or s3://bucket/prefix; or off. Several gateways need a bucket.",
		field: func(c *Config) any { return &c.Media.URL }},
	{Name: "media.endpoint", Kind: Text, Default: "",
		Doc:   "URL of the S3 service as clients reach it, such as https://s3.eu-central-1.amazonaws.com.",
		field: func(c *Config) any { return &c.Media.Endpoint }},
	{Name: "media.region", Kind: Text, Default: "us-east-1",
		Doc:   "Region of the bucket.",
		field: func(c *Config) any { return &c.Media.Region }},
	{Name: "media.credentials", Kind: Text, Default: "",
		Doc:   "File with two lines, the access key and its secret; empty is what AWS_ACCESS_KEY_ID and its like say, or the machine's role.",
		field: func(c *Config) any { return &c.Media.Credentials }},
	{Name: "media.secret", Kind: Text, Default: "",
		Doc:   "File with at least 32 bytes that names and URLs of media are signed with, the same for all gateways; empty is media.key in the data folder, made where it is missing.",
		field: func(c *Config) any { return &c.Media.Secret }},
	{Name: "media.cdn", Kind: Text, Default: "",
		Doc:   "URL that stands in download URLs for scheme and host of the store; it has to ask the store with the store's own Host, path and query, and may keep answers until their Expires.",
		field: func(c *Config) any { return &c.Media.CDN }},
	{Name: "media.bytes", Kind: Size, Default: "100MiB", Min: kib, Max: 64 * gib,
		Doc:   "Largest blob; over it an upload is refused with too_large.",
		field: func(c *Config) any { return &c.Media.Bytes }},
	{Name: "media.quota", Kind: Size, Default: "5GiB", Min: kib, Max: tib,
		Doc:   "Bytes of a user's blobs and uploads, each counted as 4 KiB at least; over them an upload is refused with quota.",
		field: func(c *Config) any { return &c.Media.Quota }},
	{Name: "media.types", Kind: List, Default: "application/octet-stream",
		Doc:   "Content types that are taken. Encrypted files are application/octet-stream.",
		field: func(c *Config) any { return &c.Media.Types }},
	{Name: "media.urls", Kind: Duration, Default: "15m", Min: second, Max: 7 * day,
		Doc:   "How long a URL for upload or download is good; one for download that others got before has half of it left at least.",
		field: func(c *Config) any { return &c.Media.URLs }},
	{Name: "media.rate", Kind: Int, Default: "120", Min: 1, Max: 1_000_000, Unit: "requests",
		Doc:   "Requests about media a minute and user, at each gateway, also at once after a pause; over it they are refused with rate_limited.",
		field: func(c *Config) any { return &c.Media.Rate }},
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
	{[]string{"media.url", "media.endpoint"}, func(c *Config) string {
		scheme, rest, _ := strings.Cut(c.Media.URL, ":")
		switch {
		case c.Media.URL == "off", scheme == "file":
			return ""
		case scheme != "s3" || !strings.HasPrefix(rest, "//") || strings.Trim(rest, "/") == "":
			return fmt.Sprintf("media.url: %q: write file, file:DIR, s3://bucket/prefix, or off", c.Media.URL)
		case c.Media.Endpoint == "":
			return "media.url names a bucket: media.endpoint has to say of which service"
		}
		return urlFault("media.endpoint", c.Media.Endpoint, "http", "https")
	}},
	{[]string{"presence.url", "media.url", "media.secret"}, func(c *Config) string {
		if c.Clustered() && strings.HasPrefix(c.Media.URL, "s3:") && c.Media.Secret == "" {
			return "media.url names a bucket, and there are several gateways: media.secret has to name a file that all have alike"
		}
		return ""
	}},
	{[]string{"media.cdn"}, func(c *Config) string { return urlFault("media.cdn", c.Media.CDN, "http", "https") }},
	{[]string{"media.bytes", "media.quota"}, func(c *Config) string {
		if c.Media.Quota < c.Media.Bytes {
			return "media.quota has to be at least media.bytes, or the largest blob is never taken"
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
