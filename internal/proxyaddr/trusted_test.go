package proxyaddr

import (
	"net/netip"
	"strings"
	"testing"
)

func trusted(t *testing.T, list ...string) Trusted {
	t.Helper()
	p, err := ParseTrusted(list)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTrusted(t *testing.T) {
	p := trusted(t, "10.0.0.7", "192.168.0.9/16", "fd00::/8", "::1")
	for a, want := range map[string]bool{
		"10.0.0.7": true, "10.0.0.8": false, "192.168.255.1": true, "192.169.0.1": false,
		"fd12::1": true, "fe80::1%eth0": false, "::1": true, "::ffff:10.0.0.7": true, "::2": false,
	} {
		if p.Contains(netip.MustParseAddr(a)) != want {
			t.Errorf("%s: trusted is not %v", a, want)
		}
	}
	if Trusted(nil).Contains(netip.MustParseAddr("127.0.0.1")) {
		t.Error("who trusts nobody trusts loopback")
	}
}

// All faults are reported together.
func TestParseTrustedFaults(t *testing.T) {
	_, err := ParseTrusted([]string{"10.0.0.0/33", "127.0.0.1", "balancer.example"})
	if err == nil || !strings.Contains(err.Error(), "10.0.0.0/33") || !strings.Contains(err.Error(), "balancer.example") || strings.Contains(err.Error(), "127.0.0.1") {
		t.Error(err)
	}
}

func TestClientOfForwardedFor(t *testing.T) {
	p := trusted(t, "10.0.0.0/8", "fd00::/8")
	for header, want := range map[string]string{
		"192.0.2.7":                                  "192.0.2.7",
		"192.0.2.7, 10.1.1.1, 10.0.0.1":              "192.0.2.7",
		"198.51.100.1, 192.0.2.7,\t10.0.0.1":         "192.0.2.7", // what the client wrote itself
		"10.9.9.9, 192.0.2.7":                        "192.0.2.7",
		"nonsense, 192.0.2.7":                        "192.0.2.7",
		"10.9.9.9, 10.0.0.1":                         "10.9.9.9",
		"192.0.2.7:4711":                             "192.0.2.7",
		"2001:db8::7, fd00::1":                       "2001:db8::7",
		"[2001:db8::7]:4711":                         "2001:db8::7",
		"[2001:db8::7]":                              "2001:db8::7",
		"::ffff:192.0.2.7":                           "192.0.2.7",
		strings.Repeat("1.1.1.1, ", 400) + "2.2.2.2": "2.2.2.2",
	} {
		if a, err := p.Client(header); err != nil || a.String() != want {
			t.Errorf("%q: %v, %v, want %s", header, a, err, want)
		}
	}
	for _, header := range []string{"", " ", "unknown", "192.0.2.7, unknown", "192.0.2.7,", "192.0.2.7, , 10.0.0.1", "192.0.2.256"} {
		if a, err := p.Client(header); err == nil {
			t.Errorf("%q: taken as %v", header, a)
		}
	}
}
