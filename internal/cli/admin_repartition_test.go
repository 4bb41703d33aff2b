package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/server"
	"github.com/rookery-chat/rookery/internal/services"
)

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

	command := func(more ...string) []string {
		return append(append([]string{"repartition", "--log=" + log}, cql...), more...)
	}
	runAdmin(t, ExitUsage, command("--to=0"), "1 to 1024")
	runAdmin(t, ExitOK, command("--to=3", "--dry-run"), "from 2 partitions (epoch 0) to 3 (epoch 1)", "partition   0 ->   0  33.33 %", "nothing was changed")
	runAdmin(t, ExitOK, command("--to=3"), "begun in 3 of 3", "done")
	runAdmin(t, ExitOK, command("--to=3"), "3 partitions, of which 3 have begun; nothing was changed")
	runAdmin(t, ExitOK, command("--to=2", "--dry-run"), "from 3 partitions (epoch 1) to 2 (epoch 2)")
	runAdmin(t, ExitOK, command("--to=2"), "begun in 2 of 2", "done")
}
