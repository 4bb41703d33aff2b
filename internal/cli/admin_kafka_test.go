package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/internal/services"
	"github.com/rookery-chat/rookery/pipeline/kafka"
	"github.com/rookery-chat/rookery/pipeline/pipelinetest"
)

// kafkaURL names a log of the test's own.
func kafkaURL(t *testing.T) (url, prefix string) {
	prefix = fmt.Sprintf("test-cli-%d", time.Now().UnixNano())
	return "--log=kafka://" + services.Kafka(t) + "/" + prefix, prefix
}

// runAdmin runs an admin command that should end with a code and say these words.
func runAdmin(t *testing.T, code int, args []string, words ...string) {
	t.Helper()
	got, out, errOut := runCommand(t, nil, append([]string{"admin"}, args...)...)
	if got != code {
		t.Errorf("admin %v: exit %d, want %d\n%s%s", args, got, code, out, errOut)
	}
	for _, w := range words {
		if !strings.Contains(out+errOut, w) {
			t.Errorf("admin %v says nothing of %q:\n%s%s", args, w, out, errOut)
		}
	}
}

func TestAdminTopics(t *testing.T) {
	log, prefix := kafkaURL(t)
	create := []string{"topics", log, "--create", "--partitions=2", "--replicas=1"}
	runAdmin(t, ExitFailed, []string{"topics", log}, "--create makes them")
	runAdmin(t, ExitOK, create, "made  "+prefix+".0", "made  "+prefix+".deadletters", "2 partitions, 1 replicas")
	runAdmin(t, ExitOK, create, "right  "+prefix+".0", "right  "+prefix+".deadletters")
	runAdmin(t, ExitOK, []string{"topics", log, "--check"}, "right  "+prefix+".0")
	runAdmin(t, ExitOK, []string{"topics", log, "--presence=redis://127.0.0.1:1"}, "right  "+prefix+".0") // with no word of rpc
	runAdmin(t, ExitOK, append(create, "--epoch=1"), "made  "+prefix+".1")
	runAdmin(t, ExitFailed, []string{"topics", log + "-more", "--create", "--replicas=7"}, "INVALID_REPLICATION_FACTOR")
	runAdmin(t, ExitUsage, append(create, "--check"), "exclude")
	runAdmin(t, ExitConfig, []string{"topics"}, "the log is local")
	runAdmin(t, ExitUnreachable, []string{"topics", "--log=kafka://127.0.0.1:1/x"}, "127.0.0.1:1", "refused")
}

func TestAdminDeadLetters(t *testing.T) {
	log, prefix := kafkaURL(t)
	runAdmin(t, ExitOK, []string{"topics", log, "--create", "--partitions=2", "--replicas=1"})
	runAdmin(t, ExitOK, []string{"deadletters", "list", log}, "there are none")
	good := record.Append(nil, &record.Record{Kind: record.Mark, User: []byte("u"), Device: []byte("d"), Place: 7})
	o := kafka.Options{Brokers: []string{services.Kafka(t)}, Prefix: prefix}
	l, err := kafka.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	l.DeadLetter(1, 300, "a reason", []byte("junk"))
	l.DeadLetter(1, 301, "another", good)
	l.Close()
	runAdmin(t, ExitOK, []string{"deadletters", "list", log, "--raw"}, "partition 1 position 300", "a reason", `"junk"`, "kept")

	mended := filepath.Join(t.TempDir(), "mended")
	if err := os.WriteFile(mended, good, 0o600); err != nil {
		t.Fatal(err)
	}
	runAdmin(t, ExitFailed, []string{"deadletters", "replay", log, "--number=0"}, "cannot decode it either", "--from")
	runAdmin(t, ExitOK, []string{"deadletters", "replay", log, "--number=0", "--from=" + mended}, "appended at partition 1 position 256")
	runAdmin(t, ExitOK, []string{"deadletters", "replay", log, "--number=1"}, "appended at partition 1 position 512")
	runAdmin(t, ExitOK, []string{"deadletters", "list", log}, "replayed: a reason", "replayed: another")
	runAdmin(t, ExitFailed, []string{"deadletters", "replay", log, "--number=99"}, "no dead letter 99")
	runAdmin(t, ExitUsage, []string{"deadletters", "replay", log}, "--number")
	runAdmin(t, ExitUsage, []string{"deadletters"}, "list|replay")
	runAdmin(t, ExitOK, []string{"deadletters", "--help"}, "replay")

	if l, err = kafka.Open(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	pipelinetest.Expect(t, l, 1, 0, string(good), string(good))
}
