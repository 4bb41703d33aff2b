package kafka

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rookery-chat/rookery/internal/services"
)

func TestCreateTopicsTwice(t *testing.T) {
	o := options(services.Kafka(t))
	s := Spec{Partitions: 3, Replicas: 1, Retention: 2 * time.Hour}
	names := []string{topicName(o.Prefix, 0), deadLetterTopic(o.Prefix)}
	for _, want := range [][]string{names, nil} {
		created, err := CreateTopics(t.Context(), o, s)
		if err != nil || !slices.Equal(created, want) {
			t.Errorf("created %v, %v, want %v", created, err, want)
		}
	}
	s.Epoch = 2
	if created, err := CreateTopics(t.Context(), o, s); err != nil || !slices.Equal(created, []string{topicName(o.Prefix, 2)}) {
		t.Errorf("created %v, %v", created, err)
	}
	t.Cleanup(func() { admin(t, o).DeleteTopics(t.Context(), append(names, topicName(o.Prefix, 2))...) })
	topics, err := CheckTopics(t.Context(), o)
	if err != nil || len(topics) != 3 {
		t.Fatalf("topics are %+v, %v", topics, err)
	}
	for i, want := range []Topic{{Name: names[0], Partitions: 3}, {Name: topicName(o.Prefix, 2), Epoch: 2, Partitions: 3}, {Name: names[1], Partitions: 1}} {
		got := topics[i]
		if got.Name != want.Name || got.Epoch != want.Epoch || got.Partitions != want.Partitions || got.Replicas != 1 || got.Faults != nil || got.ID == [16]byte{} {
			t.Errorf("topic %d is %+v, want %+v", i, got, want)
		}
	}
	l := mustOpen(t, o)
	if l.Epoch() != 2 || l.Partitions() != 3 || l.Identity() != topics[1].ID || l.End(0).Epoch() != 2 {
		t.Errorf("opened is epoch %d with %d partitions, ends at %v", l.Epoch(), l.Partitions(), l.End(0))
	}
	if err := l.RaiseEpoch(1); err != nil {
		t.Errorf("the epoch is above 1, %v", err)
	}
	if err := l.RaiseEpoch(2); err == nil || !strings.Contains(err.Error(), "--epoch 3") {
		t.Errorf("raising the epoch says %v", err)
	}
	o.Partitions = 4
	if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "has 3 partitions, asked for are 4") {
		t.Errorf("with another number of partitions: %v", err)
	}
}

// Topics are made when every broker shows them, also the last to hear; whose words
// do not come in time is told of.
func TestCreatedTopicsAreShown(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(3))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	o := options(c.ListenAddrs()...)
	late := func(epoch uint16, times int) *kfake.FaultHandle {
		return c.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Metadata}, Nodes: []int32{2}, Topic: topicName(o.Prefix, epoch),
			Err: kerr.UnknownTopicOrPartition, Count: times,
		})
	}
	const times = 5
	hears := late(0, times)
	if _, err := CreateTopics(t.Context(), o, Spec{Partitions: 2, Replicas: 1}); err != nil || hears.Hits() != times {
		t.Errorf("made with %v, after broker 2 did not show it %d times of %d", err, hears.Hits(), times)
	}
	late(1, -1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	never := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Nodes: []int32{2}, Observe: true, Count: -1, When: func(kmsg.Request) bool {
		return true
	}})
	go func() {
		if never.Wait(ctx, 3*times) == nil {
			cancel()
		}
	}()
	made, err := CreateTopics(ctx, o, Spec{Epoch: 1, Partitions: 2, Replicas: 1})
	if err == nil || len(made) != 1 || !strings.Contains(err.Error(), "not to be used yet") {
		t.Errorf("made %v with %v, though broker 2 never shows it", made, err)
	}
}

// Each setting that could lose records is a line of its own.
func TestTopicFaults(t *testing.T) {
	_, o := fake(t, 1)
	var alter []kadm.AlterConfig
	for key, value := range map[string]string{
		"cleanup.policy": "compact", "retention.bytes": "1000000", "unclean.leader.election.enable": "true",
		"max.message.bytes": "1000", "min.insync.replicas": "2",
	} {
		alter = append(alter, kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: &value})
	}
	if _, err := admin(t, o).AlterTopicConfigs(t.Context(), alter, topicName(o.Prefix, 0)); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), o)
	if err == nil {
		t.Fatal("it was opened")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 5 {
		t.Errorf("%d lines for 5 faults:\n%v", len(lines), err)
	}
	for _, want := range []string{"cleanup.policy=compact", "retention.bytes=1000000", "unclean.leader.election.enable=true",
		"max.message.bytes=1000", "min.insync.replicas=2 with 1 replicas"} {
		if !slices.ContainsFunc(lines, func(line string) bool {
			return strings.HasPrefix(line, "kafka log: topic "+topicName(o.Prefix, 0)) && strings.Contains(line, want)
		}) {
			t.Errorf("no line tells of %s:\n%v", want, err)
		}
	}
}

func TestMinInSync(t *testing.T) {
	for replicas, want := range map[int]int{1: 1, 2: 1, 3: 2, 5: 4} {
		if got := minInSync(replicas); got != want {
			t.Errorf("%d replicas, %d in sync, want %d", replicas, got, want)
		}
	}
	value := func(s string) *string { return &s }
	replicas := kadm.PartitionDetail{Replicas: []int32{1, 2, 3}}
	for least, faults := range map[string]bool{"1": true, "2": false, "3": false} {
		configs := kadm.ResourceConfig{}
		for key, v := range (Spec{Replicas: 3}).configs() {
			configs.Configs = append(configs.Configs, kadm.Config{Key: key, Value: v})
		}
		configs.Configs = append(configs.Configs, kadm.Config{Key: "min.insync.replicas", Value: value(least)})
		topic := inspect(&Options{Prefix: "p"}, kadm.TopicDetail{Topic: "p.0", Partitions: kadm.PartitionDetails{0: replicas}}, configs)
		if (topic.Faults != nil) != faults {
			t.Errorf("3 replicas, %s in sync: %v", least, topic.Faults)
		}
	}
}

func TestNoTopics(t *testing.T) {
	o := options(services.Kafka(t))
	_, err := Open(t.Context(), o)
	if err == nil || strings.Count(err.Error(), "rookery admin topics --create") != 2 {
		t.Errorf("without topics: %v", err)
	}
}

// A broker that is not there is said in one line, with what was tried.
func TestUnreachable(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close()
	_, err = Open(t.Context(), options(address))
	if err == nil || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), "without TLS") ||
		!strings.Contains(err.Error(), "refused") || strings.Contains(err.Error(), "\n") {
		t.Errorf("without a broker: %v", err)
	}
}

func TestEpochOf(t *testing.T) {
	for topic, want := range map[string]int{"p.0": 0, "p.17": 17, "p.32767": 32767, "p.32768": -1, "p.deadletters": -1, "p.": -1, "p.01": -1, "q.0": -1, "p.-1": -1, "p": -1} {
		if epoch, ok := epochOf("p", topic); ok != (want >= 0) || ok && int(epoch) != want {
			t.Errorf("%s: %d, %v", topic, epoch, ok)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	for _, s := range []Spec{{Epoch: MaxEpoch + 1}, {Partitions: -1}, {Partitions: maxPartitions + 1}, {Replicas: -1}, {Retention: time.Minute}} {
		if _, err := CreateTopics(t.Context(), options("127.0.0.1:1"), s); err == nil || !strings.Contains(err.Error(), "at most") {
			t.Errorf("%+v: %v", s, err)
		}
	}
	if _, err := CreateTopics(t.Context(), Options{}, Spec{}); err == nil || errors.Unwrap(err) != nil && !strings.Contains(err.Error(), "no brokers") {
		t.Errorf("without brokers: %v", err)
	}
}
