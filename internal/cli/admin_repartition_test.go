package cli

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/server"
	"github.com/rookery-chat/rookery/internal/services"
)

// inRedis runs commands that nobody of ours would.
func inRedis(t *testing.T, commands ...string) {
	t.Helper()
	c, err := net.Dial("tcp", services.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	answers := bufio.NewReader(c)
	for _, command := range commands {
		fmt.Fprintf(c, "%s\r\n", command)
		if answer, err := answers.ReadString('\n'); err != nil || answer[0] == '-' {
			t.Fatalf("%s: %s, %v", command, answer, err)
		}
	}
}

// The command makes the topic of the next epoch, with which the process that is
// at work goes on; again it changes nothing.
func TestAdminRepartition(t *testing.T) {
	s := services.Get(t)
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(s.CassandraPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("test_cli_%d", time.Now().UnixNano())
	log, store := "kafka://"+services.Kafka(t)+"/"+name, "cql://"+services.Cassandra(t)+"/"+name
	cql := []string{"--store=" + store, "--cql-user=" + s.CassandraUser, "--cql-password-file=" + password}
	runAdmin(t, ExitOK, []string{"topics", "--log=" + log, "--create", "--partitions=2", "--replicas=1"})
	runAdmin(t, ExitOK, append([]string{"schema", "--replication=1"}, cql...))

	c := config.Default()
	c.Role, c.Listen, c.Admin, c.Web.Listen, c.Data = "all", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
	c.Pipeline.URL, c.Store.URL, c.Presence.URL, c.Redis.Prefix = log, store, "redis://"+services.Redis(t), name
	c.CQL.User, c.CQL.PasswordFile = s.CassandraUser, password
	c.RPC.Plaintext, c.RPC.Listen = true, "127.0.0.1:0"
	up, err := server.Start(t.Context(), c, server.Options{Version: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := up.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()

	presence := []string{"--presence=redis://" + services.Redis(t), "--redis-prefix=" + name}
	command := func(more ...string) []string {
		return slices.Concat([]string{"repartition", "--log=" + log}, cql, presence, more)
	}
	told, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	for deaf := true; deaf; { // the gateway says a moment after its start that it follows
		code, _, _ := runCommand(t, nil, append([]string{"admin"}, command("--to=3", "--dry-run")...)...)
		deaf = code != ExitOK && told.Err() == nil
	}
	runAdmin(t, ExitUsage, command("--to=0"), "1 to 1024")
	runAdmin(t, ExitOK, command("--to=3", "--dry-run"), "from 2 partitions (epoch 0) to 3 (epoch 1)", "partition   0 ->   0  33.33 %", "nothing was changed")
	// A gateway of a version that knows no epochs has a lease and says no more.
	inRedis(t, "SADD "+name+":gateways earlier", "SET "+name+":g:earlier '7 10.0.0.9:4000'")
	for _, dry := range []string{"--dry-run", "--dry-run=false"} {
		runAdmin(t, ExitFailed, command("--to=3", dry), "nothing was changed", "the gateway earlier at 10.0.0.9:4000", "upgraded")
	}
	inRedis(t, "DEL "+name+":g:earlier")
	runAdmin(t, ExitOK, command("--to=3"), "begun in 3 of 3", "done")
	runAdmin(t, ExitOK, command("--to=3"), "3 partitions, of which 3 have begun; nothing was changed")
	runAdmin(t, ExitOK, command("--to=2", "--dry-run"), "from 3 partitions (epoch 1) to 2 (epoch 2)")
	runAdmin(t, ExitOK, command("--to=2"), "begun in 2 of 2", "done")
}
