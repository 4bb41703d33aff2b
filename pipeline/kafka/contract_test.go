package kafka

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/internal/services"
	"github.com/rookery-chat/rookery/pipeline"
	"github.com/rookery-chat/rookery/pipeline/pipelinetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long anything may take before a test gives up.
const patience = 30 * time.Second

func TestContract(t *testing.T) {
	pipelinetest.RunShared(t, func(t *testing.T, c pipelinetest.Config) func() pipeline.Log {
		o := newTopics(t, options(services.Kafka(t)), c.Partitions)
		return func() pipeline.Log { return mustOpen(t, o) }
	})
}

// options are those of tests, with a prefix of their own.
func options(brokers ...string) Options {
	return Options{
		Brokers:        brokers,
		Prefix:         fmt.Sprintf("test-%d", time.Now().UnixNano()),
		SessionTimeout: 6 * time.Second,
		Logger:         slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

// newTopics makes the topics of a log, which go with the test.
func newTopics(t testing.TB, o Options, partitions int) Options {
	t.Helper()
	o.Partitions = partitions
	if _, err := CreateTopics(t.Context(), o, Spec{Partitions: partitions, Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		adm := admin(t, o)
		if _, err := adm.DeleteTopics(context.Background(), topicName(o.Prefix, 0), deadLetterTopic(o.Prefix)); err != nil {
			t.Log(err)
		}
	})
	return o
}

// admin is a client of a test, which asks what the log does not.
func admin(t testing.TB, o Options) *kadm.Client { return kadm.NewClient(client(t, o)) }

func client(t testing.TB, o Options, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	o = o.withDefaults()
	cl, err := newClient(&o, "test", opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func mustOpen(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
