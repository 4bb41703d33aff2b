package bench

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
)

// listenAgent serves as an agent on another address of loopback than the
// coordinator's servers have.
func listenAgent(t *testing.T, secret []byte) (address string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	at, done := make(chan net.Addr, 1), make(chan error, 1)
	go func() {
		done <- ListenAgent(ctx, "127.0.0.1:0", secret, func(a net.Addr) { at <- a }, func(err error) { t.Error(err) })
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	select {
	case a := <-at:
		return a.String()
	case err := <-done:
		t.Fatal(err)
		return ""
	}
}

// Servers listen where the operator says, and agents elsewhere reach them there.
func TestAgentsReachTheServerWhereItListens(t *testing.T) {
	o, res := quick(t, 6), &Result{}
	o.Listen, o.Secret = "127.0.0.2", bytes.Repeat([]byte("s"), SecretBytes)
	o.Agents = []string{listenAgent(t, o.Secret)}
	bare, err := startBare(o)
	if err != nil {
		t.Fatal(err)
	}
	defer bare.kill()
	full, err := start(o, res)
	if err != nil {
		t.Fatal(err)
	}
	defer full.kill()
	for _, s := range []*target{bare, full} {
		if len(s.addresses) != 1 || s.addresses[0].Addr().String() != o.Listen {
			t.Errorf("it listens on %v", s.addresses)
		}
	}
	f, err := connect(t.Context(), o, res, full)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if err := load(t.Context(), o, res, full, f, patternAnyTwo); err != nil || res.Delivered == 0 {
		t.Errorf("delivered %d: %v", res.Delivered, err)
	}
	// From another machine loopback is not there.
	d, err := full.destination()
	if err != nil {
		t.Fatal(err)
	}
	f.agents[0].far = true
	if _, err := f.connect(t.Context(), d, 6); err == nil || !strings.Contains(err.Error(), "--server-listen") {
		t.Errorf("loopback of another machine: %v", err)
	}
	f.agents[0].far = false
	if err := full.stop(); err != nil {
		t.Error(err)
	}
}

func TestWhatIsOnAnotherMachine(t *testing.T) {
	for address, want := range map[string]bool{"127.0.0.1": false, "127.0.0.2": false, "::1": false, "192.0.2.1": true, "2001:db8::1": true} {
		if got := far(&net.TCPAddr{IP: net.ParseIP(address)}); got != want {
			t.Errorf("%s is on another machine: %v", address, got)
		}
	}
	for _, listen := range []string{"0.0.0.0", "::1", "example.com", "127.0.0.1:80"} {
		if _, err := Run(t.Context(), Options{Profile: "trickle", Listen: listen}); err == nil || !strings.Contains(err.Error(), "IPv4 address of this machine") {
			t.Errorf("the server listens on %q: %v", listen, err)
		}
	}
	for _, profile := range []string{"echo", "stages", "crypto"} {
		if _, err := Run(t.Context(), Options{Profile: profile, Target: "none", Agents: []string{"127.0.0.1:1"}}); err == nil || !strings.Contains(err.Error(), "not in agents") {
			t.Errorf("%s by agents: %v", profile, err)
		}
	}
}
