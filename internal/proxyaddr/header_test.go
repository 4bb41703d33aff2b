package proxyaddr

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
)

// v2 is a header of version 2 with a payload.
func v2(command, family byte, payload ...byte) string {
	b := append([]byte(proxyproto.SIGV2), command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	return string(append(b, payload...))
}

// formatted is a header as the library writes it.
func formatted(t testing.TB, version byte, from, to string) string {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(version, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from)), net.TCPAddrFromAddrPort(netip.MustParseAddrPort(to)))
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	tcp4 = []byte{192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0, 80}
	tlv  = []byte{0x04, 0, 3, 'a', 'b', 'c'} // PP2_TYPE_NOOP
)

type headerCase struct{ what, header, client string }

func goodHeaders(t testing.TB) []headerCase {
	return []headerCase{
		{"v1 TCP4", "PROXY TCP4 192.0.2.7 10.0.0.1 12345 80\r\n", "192.0.2.7"},
		{"v1 TCP6", "PROXY TCP6 2001:db8::7 2001:db8::1 12345 80\r\n", "2001:db8::7"},
		{"v1 UNKNOWN", "PROXY UNKNOWN\r\n", ""},
		{"the longest v1", "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", ""},
		{"v2 IPv4", formatted(t, 2, "192.0.2.7:12345", "10.0.0.1:80"), "192.0.2.7"},
		{"v2 IPv6", formatted(t, 2, "[2001:db8::7]:12345", "[2001:db8::1]:80"), "2001:db8::7"},
		{"v2 with TLVs", v2(0x21, 0x11, append(bytes.Clone(tcp4), tlv...)...), "192.0.2.7"},
		{"the longest v2", v2(0x21, 0x11, append(bytes.Clone(tcp4), make([]byte, MaxV2Bytes-v2Fixed-len(tcp4))...)...), "192.0.2.7"},
		{"v2 LOCAL", v2(0x20, 0x00), ""},
		{"v2 LOCAL with an address", v2(0x20, 0x11, tcp4...), ""},
		{"v2 LOCAL of no family there is", v2(0x20, 0xff, 1, 2, 3), ""},
		{"v2 UNSPEC", v2(0x21, 0x00, tlv...), ""},
		{"v2 UNIX", v2(0x21, 0x31, make([]byte, 216)...), ""},
	}
}

// However the bytes are split, it asks for more until the last one, and takes
// none of what follows.
func TestHeadersSplitAtEveryByte(t *testing.T) {
	for _, c := range goodHeaders(t) {
		for i := range len(c.header) {
			if _, n, err := ReadHeader([]byte(c.header[:i])); n != 0 || err != nil {
				t.Fatalf("%s: %d of %d bytes: n %d, %v", c.what, i, len(c.header), n, err)
			}
		}
		a, n, err := ReadHeader([]byte(c.header + "GET / HTTP/1.1\r\n"))
		if err != nil || n != len(c.header) {
			t.Fatalf("%s: %d of %d bytes taken, %v", c.what, n, len(c.header), err)
		}
		if a.IsValid() != (c.client != "") || a.IsValid() && a.String() != c.client {
			t.Errorf("%s: the client is %v, want %s", c.what, a, c.client)
		}
	}
}

func TestBadHeaders(t *testing.T) {
	for _, c := range []headerCase{
		{"HTTP", "GET / HTTP/1.1\r\n", ""},
		{"another case", "proxy TCP4 192.0.2.7 10.0.0.1 1 2\r\n", ""},
		{"a method that begins like it", "PROXYX / HTTP/1.1\r\n", ""},
		{"v1 without an end", "PROXY TCP4 " + strings.Repeat("1", 96), ""},
		{"v1 that ends too late", "PROXY UNKNOWN " + strings.Repeat("1", 92) + "\r\n", ""},
		{"v1 that ends in LF alone", "PROXY TCP4 192.0.2.7 10.0.0.1 12345 80\n", ""},
		{"v1 of another family", "PROXY UDP4 192.0.2.7 10.0.0.1 12345 80\r\n", ""},
		{"v1 with an address of the other family", "PROXY TCP4 2001:db8::7 2001:db8::1 12345 80\r\n", ""},
		{"v1 with too little", "PROXY TCP4 192.0.2.7 10.0.0.1\r\n", ""},
		{"v1 with a port out of range", "PROXY TCP4 192.0.2.7 10.0.0.1 65536 80\r\n", ""},
		{"v1 with a name", "PROXY TCP4 localhost 10.0.0.1 1 80\r\n", ""},
		{"v2 of version 3", v2(0x31, 0x11, tcp4...), ""},
		{"v2 with a command there is not", v2(0x22, 0x11, tcp4...), ""},
		{"v2 of a family there is not", v2(0x21, 0x41, tcp4...), ""},
		{"v2 UDP", v2(0x21, 0x12, tcp4...), ""},
		{"v2 too short for its family", v2(0x21, 0x11, tcp4[:11]...), ""},
		{"v2 IPv6 too short", v2(0x21, 0x21, make([]byte, 35)...), ""},
		{"v2 too long", v2(0x21, 0x11, make([]byte, MaxV2Bytes-v2Fixed+1)...), ""},
		{"half a signature of v2", "\r\n\r\nGET / HTTP/1.1\r\n", ""},
	} {
		if a, n, err := ReadHeader([]byte(c.header)); err == nil {
			t.Errorf("%s: taken: %v, %d bytes", c.what, a, n)
		}
	}
	if _, _, err := ReadHeader([]byte("GET")); !errors.Is(err, ErrNoHeader) {
		t.Errorf("no header: %v", err)
	}
}

// A length is judged before what it counts has come.
func TestALongHeaderIsNotWaitedFor(t *testing.T) {
	long := v2(0x21, 0x11, make([]byte, MaxV2Bytes)...)[:v2Fixed]
	if _, _, err := ReadHeader([]byte(long)); err == nil {
		t.Error("it waits for more than it reads")
	}
}

func FuzzReadHeader(f *testing.F) {
	for _, c := range goodHeaders(f) {
		f.Add([]byte(c.header))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		a, n, err := ReadHeader(in)
		switch {
		case n < 0 || n > len(in) || n > MaxV2Bytes:
			t.Fatalf("%d bytes of %d", n, len(in))
		case err == nil && n == 0 && len(in) >= MaxV2Bytes:
			t.Fatalf("%d bytes and it waits for more", len(in))
		case err != nil && a.IsValid():
			t.Fatalf("%v and %v", a, err)
		}
		if err != nil || n == 0 {
			return
		}
		// What follows changes nothing, and what is short of it is not enough.
		if b, m, err := ReadHeader(append(bytes.Clone(in[:n]), "GET"...)); b != a || m != n || err != nil {
			t.Fatalf("%v, %d, %v; before %v, %d", b, m, err, a, n)
		}
		if _, m, err := ReadHeader(in[:n-1]); m != 0 || err != nil {
			t.Fatalf("one byte less: %d, %v", m, err)
		}
	})
}
