// Package peers has no code of its own: its test starts every peer that
// scripts/peers.sh has built, and sees that it really echoes.
package peers

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/protocol"
	"github.com/coder/websocket"
)

// patience is how long anything may take on a busy machine.
const patience = time.Minute

// want are the peers; the others that may lie in the folder are tested too.
var want = []string{"barec", "barego", "centrifuge", "coder", "fastwebsockets", "gnet", "gobwas", "gorilla", "gws", "nbio"}

func folder() string {
	if dir := os.Getenv("PEERS"); dir != "" {
		return dir
	}
	return "../../.cache/peers"
}

func TestEveryPeerEchoes(t *testing.T) {
	entries, err := os.ReadDir(folder())
	if err != nil {
		t.Fatalf("no peers (scripts/peers.sh build): %v", err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	for _, name := range want {
		if !slices.Contains(names, name) {
			t.Errorf("%s is not built (scripts/peers.sh build)", name)
		}
	}
	for _, name := range names {
		path := filepath.Join(folder(), name)
		out, err := exec.Command(path, "--variants").Output()
		if err != nil {
			t.Errorf("%s says no variants: %v", name, err)
			continue
		}
		for _, variant := range strings.Fields(string(out)) {
			t.Run(name+"/"+variant, func(t *testing.T) { echoes(t, path, variant) })
		}
	}
}

// TestAnUnknownVariantIsRefused holds that no peer measures something else than
// it was asked for.
func TestAnUnknownVariantIsRefused(t *testing.T) {
	for _, name := range want {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if out, err := exec.CommandContext(ctx, filepath.Join(folder(), name), "--variant", "nonesuch").CombinedOutput(); err == nil || ctx.Err() != nil {
			t.Errorf("%s took a variant that it does not have: %s", name, out)
		}
	}
}

func echoes(t *testing.T, path, variant string) {
	address, speaks := start(t, path, variant)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	switch speaks {
	case "raw":
		raw(t, address)
	case "centrifuge":
		centrifuge(ctx, t, address)
	case "":
		webSocket(ctx, t, address)
	default:
		t.Fatalf("speaks %q", speaks)
	}
}

// start runs a peer until the test's end.
func start(t *testing.T, path, variant string) (address, speaks string) {
	t.Helper()
	cmd := exec.Command(path, "--listen", "127.0.0.1:0", "--variant", variant)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		switch what, value, _ := strings.Cut(lines.Text(), " "); what {
		case "speaks":
			speaks = value
		case "listening":
			return value, speaks
		}
	}
	t.Fatal("it ended before it listened")
	return "", ""
}

// messages are what is sent: at the limits of the header's forms, and more than
// one read can bring.
func messages() (all [][]byte) {
	for _, n := range []int{1, 100, 125, 126, 127, 1000, 20_000} {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(i*31 + n)
		}
		all = append(all, b)
	}
	for i := range 64 {
		all = append(all, bytes.Repeat([]byte{byte(i + 1)}, 100))
	}
	return all
}

func raw(t *testing.T, address string) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	sent := bytes.Join(messages(), nil)
	if _, err := c.Write(sent); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("other bytes came back: %v", err)
	}
}

// webSocket sends all, then reads all: what is in flight comes back in order.
func webSocket(ctx context.Context, t *testing.T, address string) {
	for range 3 {
		c := dial(ctx, t, "ws://"+address+"/any/path")
		for i, m := range messages() {
			kind := websocket.MessageBinary
			if i%2 == 1 && len(m) <= 100 {
				kind, m = websocket.MessageText, bytes.Repeat([]byte("é"), len(m))
			}
			if err := c.Write(ctx, kind, m); err != nil {
				t.Fatal(err)
			}
		}
		for i, m := range messages() {
			kind := websocket.MessageBinary
			if i%2 == 1 && len(m) <= 100 {
				kind, m = websocket.MessageText, bytes.Repeat([]byte("é"), len(m))
			}
			gotKind, got, err := c.Read(ctx)
			if err != nil || gotKind != kind || !bytes.Equal(got, m) {
				t.Fatalf("message %d of %d bytes came back as kind %v, %d bytes: %v", i, len(m), gotKind, len(got), err)
			}
		}
	}
}

func dial(ctx context.Context, t *testing.T, url string) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseNow() })
	c.SetReadLimit(1 << 20)
	return c
}

// centrifuge does the same in the library's own protocol.
func centrifuge(ctx context.Context, t *testing.T, address string) {
	c := dial(ctx, t, "ws://"+address+"/any/path?format=protobuf")
	send := func(command *protocol.Command) {
		b, err := protocol.NewProtobufCommandEncoder().Encode(command)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Write(ctx, websocket.MessageBinary, b); err != nil {
			t.Fatal(err)
		}
	}
	var waiting []*protocol.Reply
	next := func() *protocol.Reply {
		if len(waiting) == 0 {
			_, b, err := c.Read(ctx)
			if err != nil {
				t.Fatal(err)
			}
			waiting = replies(t, b)
		}
		r := waiting[0]
		waiting = waiting[1:]
		return r
	}
	send(&protocol.Command{Id: 1, Connect: &protocol.ConnectRequest{}})
	if r := next(); r.Connect == nil {
		t.Fatalf("answered connect with %v", r)
	}
	for _, m := range messages() {
		send(&protocol.Command{Send: &protocol.SendRequest{Data: m}})
	}
	for i, m := range messages() {
		if r := next(); r.Push == nil || r.Push.Message == nil || !bytes.Equal(r.Push.Message.Data, m) {
			t.Fatalf("message %d of %d bytes came back as %v", i, len(m), r)
		}
	}
}

// replies takes a frame apart, which may carry several.
func replies(t *testing.T, b []byte) (all []*protocol.Reply) {
	d := protocol.NewProtobufReplyDecoder(b)
	for {
		r, err := d.Decode()
		if r != nil {
			all = append(all, r)
		}
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
