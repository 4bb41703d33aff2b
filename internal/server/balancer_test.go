package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/auth"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/packet"
)

// These tests are of deploy/haproxy.cfg, with a real HAProxy and gateways that
// are processes: they are killed and paused.

const gatewayVariable = "TEST_GATEWAY" // this process is one: its data folder

// serveAsGateway is the main function of a gateway.
func serveAsGateway() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c, err := config.Load(nil, os.Environ())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s, err := Start(ctx, c, Options{Version: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(s.Addr(), s.AdminAddr())
	<-ctx.Done()
	s.Stop(context.Background())
	return 0
}

// gatewayProcess is a gateway; its number is in its welcomes.
type gatewayProcess struct {
	cmd         *exec.Cmd
	addr, admin string
}

// numberBase makes a number of a gateway one of its limits, which it tells.
const numberBase = 100

func startGateway(t *testing.T, number int, keyFile string, settings ...string) *gatewayProcess {
	t.Helper()
	dir := t.TempDir()
	if err := os.Link(keyFile, filepath.Join(dir, auth.DevKeyFile)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append([]string{
		gatewayVariable + "=" + dir, "ROOKERY_DATA=" + dir, "ROOKERY_LISTEN=127.0.0.1:0", "ROOKERY_ADMIN=127.0.0.1:0", "ROOKERY_WEB=127.0.0.1:0",
		"ROOKERY_LISTEN_PROXY=proxy", "ROOKERY_LISTEN_TRUSTED=127.0.0.1", "ROOKERY_AUTH_DEV_KEY=true",
		"ROOKERY_ENGINE_LOOPS=1", "ROOKERY_STORE_CACHE_BYTES=8MiB", "ROOKERY_STORE_MEMTABLE_BYTES=4MiB", "ROOKERY_PIPELINE_SEGMENT_BYTES=4MiB",
		fmt.Sprint("ROOKERY_SESSION_WATCHES=", numberBase+number),
	}, settings...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGCONT)
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	g := &gatewayProcess{cmd: cmd}
	if n, _ := fmt.Sscan(line, &g.addr, &g.admin); n != 2 {
		t.Fatalf("gateway %d said %q, %v", number, line, err)
	}
	return g
}

func (g *gatewayProcess) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := g.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// haproxy is the balancer of a test.
type haproxy struct {
	t       *testing.T
	address string
	stats   string
	roots   *x509.CertPool
	key     auth.Key
	cmd     *exec.Cmd
	refused []int // the statuses that dial met with
}

// newKey makes a key that all gateways of a test take, and returns its file.
func newKey(t *testing.T) (keyFile string) {
	t.Helper()
	dir := t.TempDir()
	if _, _, err := auth.LoadOrCreateDevKey(dir); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, auth.DevKeyFile)
}

func startBalancer(t *testing.T, keyFile string, settings []string, gateways ...*gatewayProcess) *haproxy {
	t.Helper()
	path, err := exec.LookPath("haproxy")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/haproxy"); err != nil {
			t.Fatal("there is no haproxy, whose configuration this tests: run make services")
		}
	}
	key, err := auth.LoadDevKey(filepath.Dir(keyFile))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	h := &haproxy{t: t, address: freeAddress(t), stats: filepath.Join(dir, "stats"), roots: x509.NewCertPool(), key: key}
	host, port, _ := net.SplitHostPort(h.address)
	env := append([]string{"ADDRESS=" + host, "PORT=" + port, "CERT=" + h.certificate(dir), "STATS=" + h.stats, "CONNRATE=100000"}, settings...)
	for i, g := range gateways {
		_, admin, _ := net.SplitHostPort(g.admin)
		env = append(env, fmt.Sprintf("GATEWAY_%d=%s", i+1, g.addr), fmt.Sprintf("GATEWAY_%d_ADMIN=%s", i+1, admin))
	}
	h.cmd = exec.Command(path, "-db", "-f", "../../deploy/haproxy.cfg")
	h.cmd.Env = env
	log := new(strings.Builder)
	h.cmd.Stdout, h.cmd.Stderr = log, log
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { h.cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		h.cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Log(log)
		}
	})
	h.until("it listens", func() bool {
		select {
		case <-ended:
			t.Fatalf("haproxy ended:\n%s", log)
		default:
		}
		c, err := net.Dial("tcp", h.address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return h
}

// certificate writes a certificate and its key, and trusts it.
func (h *haproxy) certificate(dir string) string {
	h.t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	s.Close()
	h.roots.AddCert(s.Certificate())
	key, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		h.t.Fatal(err)
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	b = append(b, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	path := filepath.Join(dir, "balancer.pem")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		h.t.Fatal(err)
	}
	return path
}

// until waits for a condition, which it asks for again and again.
func (h *haproxy) until(what string, holds func() bool) {
	h.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			h.t.Fatalf("waited for long: %s", what)
		}
	}
}

// state is what HAProxy thinks of a gateway: UP, DOWN, NOLB.
func (h *haproxy) state(number int) string {
	h.t.Helper()
	c, err := net.Dial("unix", h.stats)
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "show stat\n")
	b, _ := io.ReadAll(c)
	for line := range strings.Lines(string(b)) {
		if f := strings.Split(line, ","); f[0] == "gateways" && f[1] == fmt.Sprint("gateway-", number) {
			state, _, _ := strings.Cut(f[17], " ")
			return state
		}
	}
	h.t.Fatalf("haproxy knows no gateway %d:\n%s", number, b)
	return ""
}

func (h *haproxy) tls() *tls.Config { return &tls.Config{RootCAs: h.roots, ServerName: "127.0.0.1"} }

func (h *haproxy) token(user string) string {
	h.t.Helper()
	signed, err := h.key.Sign(auth.NewClaims("", user, "", time.Hour))
	if err != nil {
		h.t.Fatal(err)
	}
	return signed
}

// try connects to a path from a local address ("" for any) as a user. nil: it
// was refused, with the status that is returned, or 0.
func (h *haproxy) try(user, path, from string) (*wire, int) {
	h.t.Helper()
	var d net.Dialer
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c, err := tls.DialWithDialer(&d, "tcp", h.address, h.tls())
	if err != nil {
		return nil, 0
	}
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, upgrade(path, h.token(user)))
	in := bufio.NewReader(c)
	r, err := http.ReadResponse(in, nil)
	if err != nil || r.StatusCode != http.StatusSwitchingProtocols {
		c.Close()
		if err != nil {
			return nil, 0
		}
		return nil, r.StatusCode
	}
	h.t.Cleanup(func() { c.Close() })
	return &wire{t: h.t, net: c, in: in, user: user}, r.StatusCode
}

// dial connects a user, and says to which gateway; it tries until one takes it.
func (h *haproxy) dial(user, path string) (w *wire, number int) {
	h.t.Helper()
	h.until("a gateway takes "+user, func() bool {
		status := 0
		if w, status = h.try(user, path, ""); w == nil {
			h.refused = append(h.refused, status)
			return false
		}
		w.put(&packet.Hello{Version: packet.Version, Device: "phone", Seq: 7, Resume: packet.ResumeNow})
		welcome, ok := w.next().(*packet.Welcome)
		if ok {
			number = int(welcome.Limits["watches"]) - numberBase
			w.welcomed(welcome)
		}
		return ok
	})
	return w, number
}

// lives reports whether the session still answers.
func (w *wire) lives() bool {
	w.t.Helper()
	w.put(&packet.Ping{})
	for {
		switch w.next().(type) {
		case nil, *packet.Bye:
			return false
		case *packet.Pong:
			return true
		}
	}
}

// crowd is users and who has them.
type crowd struct {
	h     *haproxy
	users []string
	wires map[string]*wire
	at    map[string]int
}

func (h *haproxy) crowd(n int) *crowd {
	h.t.Helper()
	c := &crowd{h: h, wires: map[string]*wire{}, at: map[string]int{}}
	for range n {
		user := name("user")
		c.users = append(c.users, user)
		c.wires[user], c.at[user] = h.dial(user, "/ws/"+user)
	}
	return c
}

// of returns the users of a gateway; there have to be some of each.
func (c *crowd) of(number int) (users []string) {
	c.h.t.Helper()
	for _, u := range c.users {
		if c.at[u] == number {
			users = append(users, u)
		}
	}
	if len(users) < len(c.users)/10 {
		c.h.t.Errorf("gateway %d has %d of %d users", number, len(users), len(c.users))
	}
	return users
}

// moved holds that all users of a gateway are on others now, and all others
// still where they were, undisturbed.
func (c *crowd) moved(from int) {
	c.h.t.Helper()
	gone := map[string]bool{}
	for _, u := range c.of(from) {
		gone[u] = true
		if _, now := c.h.dial(u, "/ws/"+u); now == from {
			c.h.t.Errorf("%s is still on gateway %d", u, from)
		}
	}
	for _, u := range c.users {
		if !gone[u] && !c.wires[u].lives() {
			c.h.t.Errorf("%s of gateway %d was disturbed", u, c.at[u])
		}
	}
	if len(c.h.refused) > 0 {
		c.h.t.Errorf("some did not get another gateway at once: %v", c.h.refused)
	}
}

func startThree(t *testing.T, keyFile string) []*gatewayProcess {
	t.Helper()
	return []*gatewayProcess{startGateway(t, 1, keyFile), startGateway(t, 2, keyFile), startGateway(t, 3, keyFile)}
}

// Every user is sent to one gateway, however the path spells the name.
func TestHAProxyKeepsUsersOnTheirGateway(t *testing.T) {
	key := newKey(t)
	h := startBalancer(t, key, nil, startThree(t, key)...)
	c := h.crowd(200)
	for n := 1; n <= 3; n++ {
		t.Logf("gateway %d has %d users", n, len(c.of(n)))
	}
	for i, u := range c.users {
		path := "/ws/" + u
		if i%2 == 0 {
			path = fmt.Sprintf("/ws/%%%02X%s?again=1", u[0], u[1:])
		}
		w, now := h.dial(u, path)
		if now != c.at[u] {
			t.Errorf("%s was on gateway %d and is on %d", path, c.at[u], now)
		}
		w.net.Close()
	}
	for path, want := range map[string]int{"/": 404, "/metrics": 404, "/readyz": 404, "/ws/somebody": 403} {
		if w, status := h.try("eve", path, ""); w != nil || status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
}

// A gateway that goes away says goodbye to its users; the others stay.
func TestHAProxyMovesUsersOfADrainedGateway(t *testing.T) {
	key := newKey(t)
	gateways := startThree(t, key)
	h := startBalancer(t, key, nil, gateways...)
	c := h.crowd(60)
	gateways[0].signal(t, syscall.SIGTERM)
	for _, u := range c.of(1) {
		if code, _ := c.wires[u].byeCode(); code != chat.CodeDraining {
			t.Errorf("%s was told %v", u, code)
		}
	}
	c.moved(1)
}

// Of a killed gateway the users come back elsewhere; of a paused one too, when
// HAProxy has found out, which cuts their sessions.
func TestHAProxyMovesUsersOfADeadGateway(t *testing.T) {
	key := newKey(t)
	gateways := startThree(t, key)
	h := startBalancer(t, key, nil, gateways...)
	c := h.crowd(60)
	gateways[1].signal(t, syscall.SIGKILL)
	c.moved(2)
	h.until("gateway 2 is down", func() bool { return h.state(2) == "DOWN" })

	c = h.crowd(60)
	gateways[2].signal(t, syscall.SIGSTOP)
	for _, u := range c.users {
		if c.at[u] == 3 {
			c.wires[u].byeCode() // reads to the end
		}
	}
	for _, u := range c.users {
		if _, now := h.dial(u, "/ws/"+u); now != 1 {
			t.Errorf("%s is on gateway %d", u, now)
		}
	}
}

// A gateway that is not ready keeps who is connected and gets nobody new.
func TestHAProxySparesAGatewayThatIsNotReady(t *testing.T) {
	key := newKey(t)
	gateways := startThree(t, key)
	var status atomic.Int32
	status.Store(http.StatusOK)
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.String() != "/readyz?unready=404" {
			t.Errorf("haproxy asks for %s", r.URL)
		}
		w.WriteHeader(int(status.Load()))
	}))
	defer admin.Close()
	gateways[0].admin = admin.Listener.Addr().String()
	h := startBalancer(t, key, nil, gateways...)
	c := h.crowd(60)
	status.Store(http.StatusNotFound)
	h.until("gateway 1 takes nobody new", func() bool { return h.state(1) == "NOLB" })
	for _, u := range c.of(1) {
		if !c.wires[u].lives() {
			t.Errorf("%s was cut off", u)
		}
	}
	someone := c.of(1)[0]
	if _, now := h.dial(someone, "/ws/"+someone); now == 1 {
		t.Error("a new session was sent to it")
	}
	status.Store(http.StatusOK)
	h.until("gateway 1 takes users again", func() bool {
		_, now := h.dial(someone, "/ws/"+someone)
		return h.state(1) == "UP" && now == 1
	})
}

// The gateway sees the clients' addresses, HAProxy bounds how fast one connects.
func TestHAProxyTellsTheClientsAddress(t *testing.T) {
	key := newKey(t)
	h := startBalancer(t, key, []string{"CONNRATE=20"}, startGateway(t, 1, key, "ROOKERY_SESSION_UNAUTHENTICATED_PER_ADDRESS=1"))
	if w, status := h.try("alice", "/ws/alice", "127.0.0.2"); w == nil {
		t.Fatalf("the first connection of an address: %d", status)
	}
	if w, status := h.try("bob", "/ws/bob", "127.0.0.2"); w != nil {
		t.Errorf("the second connection of an address: %d", status)
	}
	if w, status := h.try("bob", "/ws/bob", "127.0.0.3"); w == nil {
		t.Errorf("the first connection of another address: %d", status)
	}
	refused := 0
	for range 30 {
		c, err := tls.DialWithDialer(&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.4")}}, "tcp", h.address, h.tls())
		if err != nil {
			refused++
			continue
		}
		c.Close()
	}
	if refused == 0 || refused == 30 {
		t.Errorf("%d of 30 fast connections of an address were refused", refused)
	}
	if w, status := h.try("carol", "/ws/carol", "127.0.0.5"); w == nil {
		t.Errorf("meanwhile another address: %d", status)
	}
}

// The SDK goes through it as it goes to a gateway.
func TestHAProxyCarriesTheSDK(t *testing.T) {
	key := newKey(t)
	h := startBalancer(t, key, nil, startGateway(t, 1, key))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	open := func(user string) *client.Client {
		c, err := client.Dial(ctx, client.Options{
			URL: "wss://" + h.address, User: user, Device: "phone", TLS: h.tls(),
			Token: func(context.Context) (string, error) { return h.token(user), nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	alice, bob := open("alice"), open("bob")
	sent, err := alice.Send(ctx, "bob", []byte("hi"))
	if err != nil {
		t.Fatal(err)
	}
	for {
		e, err := bob.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if m, ok := e.(client.Message); ok {
			if m.ID != sent.ID() || string(m.Content) != "hi" {
				t.Errorf("bob got %+v", m)
			}
			break
		}
	}
	bob.Handled()
	if err := sent.Delivered(ctx); err != nil {
		t.Error(err)
	}
	alice.Close(ctx)
	bob.Close(ctx)
}
