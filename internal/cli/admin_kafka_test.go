package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/internal/services"
	"github.com/rookery-chat/rookery/pipeline/kafka"
	"github.com/rookery-chat/rookery/pipeline/pipelinetest"
	"github.com/rookery-chat/rookery/shard"
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

// A message of an earlier epoch goes where its user is now; other records mean
// nothing there.
func TestAdminDeadLettersOfAnEarlierEpoch(t *testing.T) {
	log, prefix := kafkaURL(t)
	runAdmin(t, ExitOK, []string{"topics", log, "--create", "--partitions=1", "--replicas=1"})
	o := kafka.Options{Brokers: []string{services.Kafka(t)}, Prefix: prefix}
	message := func(user string) []byte {
		return record.Append(nil, &record.Record{Kind: record.Message, User: []byte(user), Peer: []byte("ann"), Device: []byte("d"), Content: []byte("hi")})
	}
	l, err := kafka.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	users := []string{"bob", "cid", "dee", "eve", "fay"}
	for i, user := range users {
		l.DeadLetter(0, chat.Position(i+1), "a reason", message(user))
	}
	l.DeadLetter(0, 9, "a reason", record.Append(nil, &record.Record{Kind: record.Mark, User: []byte("bob"), Device: []byte("d"), Place: 7}))
	l.Close()
	if _, err := kafka.CreateTopics(t.Context(), o, kafka.Spec{Epoch: 1, Partitions: 7, Replicas: 1, Online: true}); err != nil {
		t.Fatal(err)
	}
	for i := range users {
		runAdmin(t, ExitOK, []string{"deadletters", "replay", log, fmt.Sprintf("--number=%d", i)}, "appended at partition")
	}
	runAdmin(t, ExitFailed, []string{"deadletters", "replay", log, "--number=5"}, prefix+".0", prefix+".1", "only messages", "kind 3")
	runAdmin(t, ExitOK, []string{"deadletters", "list", log}, "replayed: a reason", "kept: a reason")

	if l, err = kafka.Open(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ring, want := shard.NewRing(7, l.Key()), map[int][]string{}
	for _, user := range users {
		p := ring.Partition([]byte(user))
		want[p] = append(want[p], string(message(user)))
	}
	if len(want) < 2 {
		t.Fatal("all users are in one partition: the test proves nothing")
	}
	for p, records := range want {
		pipelinetest.Expect(t, l, p, 0, records...)
	}
}
