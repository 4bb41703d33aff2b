package kafka

import (
	"errors"
	"testing"

	"github.com/rookery-chat/rookery/internal/services"
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
