package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/services"
)

// TestAdminSchema looks at a keyspace that is not there, and migrates one that
// stays: its tables take longer to make than all else here.
func TestAdminSchema(t *testing.T) {
	s := services.Get(t)
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(s.CassandraPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := func(keyspace string, more ...string) []string {
		return append([]string{
			"schema", "--store=cql://" + services.Cassandra(t) + "/" + keyspace,
			"--cql-user=" + s.CassandraUser, "--cql-password-file=" + password,
		}, more...)
	}
	none := fmt.Sprintf("test_cli_%d", time.Now().UnixNano())
	runAdmin(t, ExitFailed, args(none, "--check"), "version 0", "without --check")
	runAdmin(t, ExitOK, args(none, "--dry-run", "--replication=2"), "CREATE KEYSPACE IF NOT EXISTS "+none, "'datacenter1': '2'", "TimeWindowCompactionStrategy")
	runAdmin(t, ExitFailed, args(none, "--check"), "version 0")
	runAdmin(t, ExitFailed, args(none, "--replication=many"), "DC:NUMBER")

	const stays = "test_cli"
	runAdmin(t, ExitOK, args(stays), "keyspace "+stays)
	runAdmin(t, ExitOK, args(stays), "as this program needs")
	runAdmin(t, ExitOK, args(stays, "--check"), "has version")
}

func TestAdminSchemaFaults(t *testing.T) {
	runAdmin(t, ExitConfig, []string{"schema"}, "--store cql://")
	runAdmin(t, ExitConfig, []string{"schema", "--store=cql://127.0.0.1:1,127.0.0.1:2/chat"}, "same port")
	runAdmin(t, ExitFailed, []string{"schema", "--store=cql://127.0.0.1:1/chat"}, "no node answers at 127.0.0.1:1")
	runAdmin(t, ExitUsage, []string{"schema", "--dryrun"}, "--dry-run")
}
