package kafka

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rookery-chat/rookery/internal/services"
	"github.com/rookery-chat/rookery/pipeline/pipelinetest"
)

// An epoch that begins while the one before is at work is seen by it, and opened
// with it; one that is made for all to start with is neither.
func TestEpochs(t *testing.T) {
	o := newTopics(t, options(services.Kafka(t)), 2)
	o.Partitions = 0
	first := mustOpen(t, o)
	succeeded := func(l *Log, want bool) {
		t.Helper()
		if got, err := l.Succeeded(t.Context()); err != nil || got != want {
			t.Errorf("epoch %d is succeeded: %v, %v", l.Epoch(), got, err)
		}
	}
	opened := func(want ...int) (all []*Log) {
		t.Helper()
		all, err := OpenAll(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, l := range all {
			t.Cleanup(func() { l.Close() })
			got = append(got, l.Partitions())
		}
		if len(got) != len(want) {
			t.Fatalf("logs of %v partitions are opened, want %v", got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("logs of %v partitions are opened, want %v", got, want)
			}
		}
		return all
	}
	begin := func(epoch uint16, partitions int, online bool) {
		t.Helper()
		made, err := CreateTopics(t.Context(), o, Spec{Epoch: epoch, Partitions: partitions, Replicas: 1, Online: online})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { admin(t, o).DeleteTopics(t.Context(), made...) })
	}

	succeeded(first, false)
	opened(2)
	begin(1, 3, true)
	succeeded(first, true)
	all := opened(2, 3)
	if all[0].Online() || !all[1].Online() || all[0].Key() != all[1].Key() || all[0].groupName() == all[1].groupName() {
		t.Error("the two are not told apart, or have other keys")
	}
	topics, err := CheckTopics(t.Context(), o)
	if err != nil || topics[1].Faults != nil {
		t.Errorf("%v, %v", topics, err)
	}
	begin(2, 4, false)
	succeeded(all[1], false)
	opened(4)
	if _, err := OpenEpoch(t.Context(), o, 7); !errors.Is(err, ErrNoEpoch) {
		t.Errorf("epoch 7 is opened: %v", err)
	}
}

// A member of the group that is of a version which knows no epochs that begin
// while others are at work is named.
func TestDeaf(t *testing.T) {
	o := newTopics(t, options(services.Kafka(t)), 2)
	l := mustOpen(t, o)
	if names, err := l.Deaf(t.Context()); err != nil || len(names) != 0 {
		t.Fatalf("of nobody %v are deaf, %v", names, err)
	}
	w := pipelinetest.NewWatcher()
	if err := l.Own(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	pipelinetest.Await(t, w.Gained, 2)
	if names, err := l.Deaf(t.Context()); err != nil || len(names) != 0 {
		t.Errorf("with a member of this version %v are deaf, %v", names, err)
	}
	got := make(chan []int, 10)
	before, err := kgo.NewClient(kgo.SeedBrokers(o.Brokers...), kgo.ClientID("rookery"), kgo.ConsumerGroup(l.groupName()),
		kgo.ConsumeTopics(l.topic.Name), kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) {
			var partitions []int
			for _, p := range ps[l.topic.Name] {
				partitions = append(partitions, int(p))
			}
			got <- partitions
		}))
	if err != nil {
		t.Fatal(err)
	}
	pipelinetest.Await(t, got, 1)
	names, err := l.Deaf(t.Context())
	if err != nil || len(names) != 1 || !strings.Contains(names[0], "the processor at 127.0.0.1 (client rookery, member rookery-") {
		t.Errorf("deaf are %q, %v", names, err)
	}
	before.Close()
	if names, err := l.Deaf(t.Context()); err != nil || len(names) != 0 {
		t.Errorf("when it has gone %v are deaf, %v", names, err)
	}
}
