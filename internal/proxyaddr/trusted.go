package proxyaddr

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Mode is how a balancer says who the client is.
type Mode uint8

// The modes.
const (
	None      Mode = iota // it does not: the peer is the client
	Proxy                 // a PROXY header, before anything else
	Forwarded             // X-Forwarded-For, in the request
)

// Names are the modes' names, by their number.
var Names = []string{"none", "proxy", "forwarded"}

// Trusted are the addresses of balancers whose word is taken.
type Trusted []netip.Prefix

// ParseTrusted reads addresses and networks such as 10.0.0.7, 10.0.0.0/8 and
// fd00::/8; the error has all that are neither.
func ParseTrusted(list []string) (Trusted, error) {
	var t Trusted
	var faults []error
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if a, notOne := netip.ParseAddr(s); notOne == nil {
			p, err = netip.PrefixFrom(a.WithZone("").Unmap(), a.Unmap().BitLen()), nil
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%q is no address and no network such as 10.0.0.0/8", s))
			continue
		}
		t = append(t, p.Masked())
	}
	return t, errors.Join(faults...)
}

// Contains reports whether an address is a trusted balancer's.
func (t Trusted) Contains(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range t {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// Client returns the client of an X-Forwarded-For header that a trusted
// balancer sent: the rightmost address that is not a trusted balancer's, as
// what stands to the left of that anybody may have written. Where all are
// trusted it is the leftmost.
func (t Trusted) Client(forwardedFor string) (netip.Addr, error) {
	var client netip.Addr
	for rest, more := forwardedFor, true; more; {
		var last string
		if i := strings.LastIndexByte(rest, ','); i >= 0 {
			rest, last = rest[:i], rest[i+1:]
		} else {
			last, more = rest, false
		}
		a, err := parseHop(strings.Trim(last, " \t"))
		if err != nil {
			return netip.Addr{}, err
		}
		if client = a; !t.Contains(a) {
			break
		}
	}
	return client, nil
}

// parseHop reads one element: an address, with a port as some balancers add it.
func parseHop(s string) (netip.Addr, error) {
	if p, err := netip.ParseAddrPort(s); err == nil {
		return p.Addr().Unmap().WithZone(""), nil
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("proxyaddr: X-Forwarded-For has %q, which is no address", s)
	}
	return a.Unmap().WithZone(""), nil
}
