package pipelinetest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/pipeline"
)

// Watcher is an owner that does nothing but tell.
type Watcher struct {
	Gained, Lost chan []int
	Refuse       chan error // what Gain returns; nothing there is nil
}

// NewWatcher makes one.
func NewWatcher() *Watcher {
	return &Watcher{Gained: make(chan []int, 1000), Lost: make(chan []int, 1000), Refuse: make(chan error, 1000)}
}

// Gain implements pipeline.Owner.
func (w *Watcher) Gain(_ context.Context, partitions []int) error {
	select {
	case err := <-w.Refuse:
		return err
	default:
	}
	w.Gained <- slices.Clone(partitions)
	return nil
}

// Lose implements pipeline.Owner.
func (w *Watcher) Lose(partitions []int) { w.Lost <- slices.Clone(partitions) }

// Await takes partitions from Gained or Lost until there are n, and sorts them.
func Await(t testing.TB, from chan []int, n int) (all []int) {
	t.Helper()
	for len(all) < n {
		select {
		case some := <-from:
			all = append(all, some...)
		case <-time.After(patience):
			t.Fatalf("of %d partitions, only %v", n, all)
		}
	}
	slices.Sort(all)
	return all
}

func testOwnsAll(t *testing.T, factory Factory) {
	l := factory(t, Config{Partitions: 3})()
	w := NewWatcher()
	if err := l.Own(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if len(w.Gained) != 1 {
		t.Fatal("Own has returned, and nothing was gained")
	}
	if all := Await(t, w.Gained, 3); !slices.Equal(all, []int{0, 1, 2}) {
		t.Errorf("gained are %v", all)
	}
	closeLog(t, l)
}

func testOwnFails(t *testing.T, factory Factory) {
	l := factory(t, Config{Partitions: 3})()
	w, fault := NewWatcher(), errors.New("no store")
	w.Refuse <- fault
	if err := l.Own(t.Context(), w); !errors.Is(err, fault) {
		t.Errorf("Own returned %v", err)
	}
	closeLog(t, l)
}

func testTooMany(t *testing.T, factory Factory) {
	l := factory(t, Config{Partitions: 1})()
	most := l.MaxRecords()
	if most < 256 {
		t.Errorf("an append may have %d records only", most)
	}
	full := Append(t, l, 0, make([]string, most)...)
	over := Frame(make([]string, most+1)...)
	for _, try := range []func(int, []byte, int, func(chat.Position, error)) error{l.TryAppend, l.Append} {
		err := try(0, over, most+1, func(chat.Position, error) { t.Error("done was called for what was refused") })
		if !errors.Is(err, pipeline.ErrTooMany) {
			t.Errorf("%d records in an append: %v", most+1, err)
		}
	}
	next := Append(t, l, 0, "next")
	if next < full+chat.Position(most) {
		t.Errorf("%d records at %v, the next one at %v", most, full, next)
	}
	Expect(t, l, 0, 0, append(make([]string, most), "next")...)
	closeLog(t, l)
}

func testGainsAll(t *testing.T, factory Factory) {
	l := factory(t, Config{Partitions: 3})()
	w := NewWatcher()
	ctx, cancel := context.WithCancel(context.Background())
	if err := l.Own(ctx, w); err != nil {
		t.Fatal(err)
	}
	if all := Await(t, w.Gained, 3); !slices.Equal(all, []int{0, 1, 2}) {
		t.Errorf("gained are %v", all)
	}
	cancel()
	if all := Await(t, w.Lost, 3); !slices.Equal(all, []int{0, 1, 2}) {
		t.Errorf("lost are %v", all)
	}
	closeLog(t, l)
}

func testGainIsTriedAgain(t *testing.T, factory Factory) {
	l := factory(t, Config{Partitions: 3})()
	w := NewWatcher()
	w.Refuse <- errors.New("no store")
	w.Refuse <- errors.New("still no store")
	if err := l.Own(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	Await(t, w.Gained, 3)
	if len(w.Refuse) > 0 {
		t.Error("it was gained at once")
	}
	closeLog(t, l)
}

func testCloseLoses(t *testing.T, factory Factory) {
	l := factory(t, Config{Partitions: 2})()
	w := NewWatcher()
	if err := l.Own(context.Background(), w); err != nil {
		t.Fatal(err)
	}
	Await(t, w.Gained, 2)
	closeLog(t, l)
	if all := Await(t, w.Lost, 2); !slices.Equal(all, []int{0, 1}) {
		t.Errorf("lost are %v", all)
	}
}
