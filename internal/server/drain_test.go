package server

import (
	"fmt"
	"io"
	"testing"

	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/packet"
)

// Who is no WebSocket yet gets no frame when the server goes away.
func TestADrainClosesUnfinishedHandshakes(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Engine.Loops = 1 })
	silent, err := netDial(s)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	half, err := netDial(s)
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	fmt.Fprint(half, "GET /ws/eve HTTP/1.1\r\nHost: x\r\n")
	dial(t, s, "alice", "phone", packet.ResumeCursor) // one loop: those before it have been accepted
	stopServer(t, s)
	for name, c := range map[string]io.Reader{"silent": silent, "half a request": half} {
		if b, _ := io.ReadAll(c); len(b) > 0 {
			t.Errorf("%s: got %q", name, b)
		}
	}
}
