package redis

import (
	"crypto/rand"
	"net"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/redis/rueidis"

	"github.com/rookery-chat/rookery/internal/presence/presencetest"
	"github.com/rookery-chat/rookery/internal/services"
)

func TestContract(t *testing.T) {
	address := services.Redis(t)
	presencetest.Run(t, func(t *testing.T) presencetest.Backend { return newBackend(t, address) })
}

// TestContractOnCluster runs it where every command has to stay in one slot,
// and every bucket has a connection to listen on.
func TestContractOnCluster(t *testing.T) {
	address := cluster(t)
	presencetest.Run(t, func(t *testing.T) presencetest.Backend {
		b := newBackend(t, address)
		if b.raw.Mode() != rueidis.ClientModeCluster {
			t.Fatal("the server is no cluster")
		}
		return b
	})
}

// cluster starts a cluster of one node.
func cluster(t *testing.T) string {
	t.Helper()
	services.Redis(t) // what is needed is installed
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	bus := "0"
	if n, _ := strconv.Atoi(port); n > 55535 { // the default is 10,000 more
		bus = strconv.Itoa(n - 10000)
	}
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-port", bus,
		"--save", "", "--dir", t.TempDir(), "--loglevel", "warning")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var raw rueidis.Client
	presencetest.Eventually(t, "the node", func() bool {
		raw, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{address}, DisableCache: true, ForceSingleClient: true})
		return err == nil
	})
	defer raw.Close()
	ctx := t.Context()
	if err := raw.Do(ctx, raw.B().ClusterAddslotsrange().StartSlotEndSlot().StartSlotEndSlot(0, 16383).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	presencetest.Eventually(t, "the cluster", func() bool {
		return raw.Do(ctx, raw.B().Set().Key("ready").Value(rand.Text()).Build()).Error() == nil
	})
	return address
}
