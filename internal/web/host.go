package web

import (
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// loopbackHosts are the names of this machine to itself.
var loopbackHosts = []string{"127.0.0.1", "localhost", "::1"}

// plainHost is what a host may look like that goes into a header of ours.
var plainHost = regexp.MustCompile(`^[A-Za-z0-9.-]{1,253}$|^[0-9A-Fa-f:.]{2,45}$`)

// ours reports whether a request names this server. On loopback a page of
// somebody else's can reach it by a name that first meant another machine (DNS
// rebinding), and then counts as the server's own; so only names count that
// nobody else can give to it.
func (s *Server) ours(r *http.Request) bool {
	if s.base != nil && strings.EqualFold(r.Host, s.base.Host) {
		return true
	}
	if !s.loopback {
		host, _ := splitHost(r.Host)
		return plainHost.MatchString(host)
	}
	return s.byLoopback(r)
}

// byLoopback reports whether a request names this machine, and this port.
func (s *Server) byLoopback(r *http.Request) bool {
	host, port := splitHost(r.Host)
	return slices.Contains(loopbackHosts, strings.ToLower(host)) && port == s.port
}

// splitHost takes a Host header apart. The port may be missing.
func splitHost(hostport string) (host, port string) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return strings.Trim(hostport, "[]"), ""
	}
	return host, port
}

// socketsURL is where the page connects to.
func (s *Server) socketsURL(r *http.Request) string {
	if s.opt.Sockets != "" {
		return s.opt.Sockets
	}
	host, _ := splitHost(r.Host)
	return "ws://" + net.JoinHostPort(host, s.sockets)
}
