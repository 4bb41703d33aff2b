// Package proxyaddr finds out who a client is that comes through a balancer:
// from a PROXY protocol header before the first byte, or from the
// X-Forwarded-For header of its request. Both are words of whoever sends them,
// so they count from trusted addresses only.
package proxyaddr

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

// Limits of a PROXY header.
const (
	MaxV1Bytes = 107  // "PROXY UNKNOWN", two full IPv6 addresses and ports, CR LF
	MaxV2Bytes = 4096 // with its TLVs; balancers keep to 536
)

const (
	v2Fixed     = 16   // signature, version and command, family, length
	v2Local     = 0x20 // version 2, command LOCAL
	v2AnyFamily = 0xf0
)

// ErrNoHeader says that the bytes do not begin with a PROXY header.
var ErrNoHeader = errors.New("proxyaddr: there is no PROXY header")

// ReadHeader reads the header of the PROXY protocol, version 1 or 2, at the
// start of in, and returns the client's address and the header's size n. n is 0
// while more is needed: the caller comes back with more behind what it has. The
// address is invalid where the header names none: the balancer speaks for
// itself (LOCAL), or for a client of a family without addresses here (UNKNOWN,
// UNSPEC, UNIX).
//
// Source: haproxy.org, doc/proxy-protocol.txt, section 2.
func ReadHeader(in []byte) (client netip.Addr, n int, err error) {
	switch {
	case begins(in, "PROXY "):
		n, err = v1Size(in)
	case begins(in, string(proxyproto.SIGV2)):
		n, err = v2Size(in)
	default:
		err = ErrNoHeader
	}
	if err != nil || n == 0 {
		return netip.Addr{}, 0, err
	}
	client, err = parse(in[:n])
	return client, n, err
}

// begins reports whether in begins with prefix, as far as it goes.
func begins(in []byte, prefix string) bool {
	n := min(len(in), len(prefix))
	return string(in[:n]) == prefix[:n]
}

func v1Size(in []byte) (int, error) {
	end := bytes.IndexByte(in[:min(len(in), MaxV1Bytes)], '\n')
	if end < 0 && len(in) >= MaxV1Bytes {
		return 0, fmt.Errorf("proxyaddr: the header has no end within %d bytes", MaxV1Bytes)
	}
	return end + 1, nil
}

func v2Size(in []byte) (int, error) {
	if len(in) < v2Fixed {
		return 0, nil
	}
	size := v2Fixed + int(binary.BigEndian.Uint16(in[v2Fixed-2:]))
	switch {
	case size > MaxV2Bytes:
		return 0, fmt.Errorf("proxyaddr: a header of %d bytes; at most %d are read", size, MaxV2Bytes)
	case len(in) < size:
		return 0, nil
	}
	return size, nil
}

// parse parses a whole header.
func parse(header []byte) (netip.Addr, error) {
	if header[0] != 'P' && (header[12] == v2Local || header[12] == v2Local|1 && header[13]&v2AnyFamily == 0) {
		return netip.Addr{}, nil // whatever follows means nothing
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(header), len(header)))
	if err != nil {
		return netip.Addr{}, err
	}
	if h.Command.IsLocal() || h.TransportProtocol.IsUnix() {
		return netip.Addr{}, nil
	}
	from, _, ok := h.TCPAddrs()
	if !ok {
		return netip.Addr{}, errors.New("proxyaddr: the header is not of a TCP connection")
	}
	return from.AddrPort().Addr().Unmap(), nil
}
