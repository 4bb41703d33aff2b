package kafka

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/services"
	"github.com/rookery-chat/rookery/pipeline/pipelinetest"
)

// court knows who owns what, and says when two own the same.
type court struct {
	t      *testing.T
	mu     sync.Mutex
	owners map[int]string
	change chan struct{}
}

func newCourt(t *testing.T) *court {
	return &court{t: t, owners: map[int]string{}, change: make(chan struct{}, 1000)}
}

// party is an owner that reports to a court.
type party struct {
	c    *court
	name string
}

func (p party) Gain(_ context.Context, partitions []int) error {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	for _, id := range partitions {
		if other := p.c.owners[id]; other != "" {
			p.c.t.Errorf("%s gains partition %d, which is %s's", p.name, id, other)
		}
		p.c.owners[id] = p.name
	}
	p.c.change <- struct{}{}
	return nil
}

func (p party) Lose(partitions []int) {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	for _, id := range partitions {
		if p.c.owners[id] != p.name {
			p.c.t.Errorf("%s loses partition %d, which is %q's", p.name, id, p.c.owners[id])
		}
		delete(p.c.owners, id)
	}
	p.c.change <- struct{}{}
}

// await waits until ownership is as shares say.
func (c *court) await(shares map[string]int) {
	c.t.Helper()
	deadline := time.After(patience)
	for {
		c.mu.Lock()
		got := map[string]int{}
		for _, name := range c.owners {
			got[name]++
		}
		c.mu.Unlock()
		if fmt.Sprint(got) == fmt.Sprint(shares) {
			return
		}
		select {
		case <-c.change:
		case <-deadline:
			c.t.Fatalf("ownership is %v, want %v", got, shares)
		}
	}
}

// A partition is never owned by two members, whoever comes and goes.
func TestOwnership(t *testing.T) {
	o := newTopics(t, options(services.Kafka(t)), 6)
	a, b := mustOpen(t, o), mustOpen(t, o)
	c := newCourt(t)
	aCtx, aLeaves := context.WithCancel(t.Context())
	if err := a.Own(aCtx, party{c, "a"}); err != nil {
		t.Fatal(err)
	}
	c.await(map[string]int{"a": 6})
	if err := a.Own(t.Context(), party{c, "again"}); err == nil {
		t.Error("a log has two owners")
	}
	if err := b.Own(t.Context(), party{c, "b"}); err != nil {
		t.Fatal(err)
	}
	c.await(map[string]int{"a": 3, "b": 3})
	aLeaves()
	c.await(map[string]int{"b": 6})
	if s := a.Stats(); s.Gained != 6 || s.Lost != 6 {
		t.Errorf("a has gained %d and lost %d", s.Gained, s.Lost)
	}
}

// What a new owner is told of ends includes what others have appended.
func TestGainKnowsTheEnd(t *testing.T) {
	o := newTopics(t, options(services.Kafka(t)), 1)
	owner, gateway := mustOpen(t, o), mustOpen(t, o)
	place := pipelinetest.Append(t, gateway, 0, "a")
	if owner.End(0) != 0 {
		t.Fatal("the owner knows already: nothing is tested")
	}
	w := pipelinetest.NewWatcher()
	if err := owner.Own(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	pipelinetest.Await(t, w.Gained, 1)
	if owner.End(0) != place {
		t.Errorf("the log ends at %v for the owner, at %v for who appended", owner.End(0), place)
	}
}

// What is released as durable is committed for tools that show lag, and lag is
// counted from it.
func TestReleaseIsCommitted(t *testing.T) {
	o := options(services.Kafka(t))
	o.CommitEvery = 50 * time.Millisecond
	o = newTopics(t, o, 2)
	l := mustOpen(t, o)
	w := pipelinetest.NewWatcher()
	ctx, cancel := context.WithCancel(t.Context())
	if err := l.Own(ctx, w); err != nil {
		t.Fatal(err)
	}
	pipelinetest.Await(t, w.Gained, 2)
	var places []chat.Position
	for i := range 5 {
		places = append(places, pipelinetest.Append(t, l, 1, fmt.Sprint(i), "x"))
	}
	l.Release(1, places[4], false) // not durable: nothing is said of it
	l.Release(1, places[2]+1, true)
	l.Release(1, places[1]+1, true)
	if s := l.Stats(); s.PartitionLag[0] != 0 || s.PartitionLag[1] != 2 {
		t.Errorf("lag is %v", s.PartitionLag)
	}
	adm := admin(t, o)
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		offsets, err := adm.FetchOffsets(t.Context(), o.Prefix)
		if err != nil {
			t.Fatal(err)
		}
		at, ok := offsets.Lookup(topicName(o.Prefix, 0), 1)
		if ok && at.At == 3 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("committed is %v", at.At)
		}
	}
	l.Release(1, places[3]+1, true)
	cancel() // which commits what is left
	pipelinetest.Await(t, w.Lost, 2)
	l.Close()
	offsets, err := adm.FetchOffsets(t.Context(), o.Prefix)
	if err != nil {
		t.Fatal(err)
	}
	if at, _ := offsets.Lookup(topicName(o.Prefix, 0), 1); at.At != 4 {
		t.Errorf("committed at the end is %d", at.At)
	}
	if s := l.Stats(); s.PartitionLag[1] != -1 {
		t.Errorf("lag of what is not owned is %v", s.PartitionLag)
	}
}

// childEnv has this test's binary be an owner that tells on its output.
const childEnv = "ROOKERY_TEST_OWNER"

// A process that is paused past its session loses its partitions, and learns it
// when it runs again.
func TestPausedOwner(t *testing.T) {
	if spec := os.Getenv(childEnv); spec != "" {
		ownInChild(t, spec)
		return
	}
	o := newTopics(t, options(services.Kafka(t)), 2)
	child := exec.Command(os.Args[0], "-test.run=^TestPausedOwner$", "-test.v")
	child.Env = append(os.Environ(), childEnv+"="+o.Brokers[0]+" "+o.Prefix)
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { child.Process.Kill(); child.Wait() })
	lines := bufio.NewScanner(out)
	expect(t, lines, "gained [0 1]")
	if err := child.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, o)
	w := pipelinetest.NewWatcher()
	if err := l.Own(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if all := pipelinetest.Await(t, w.Gained, 2); !slices.Equal(all, []int{0, 1}) {
		t.Errorf("gained are %v", all)
	}
	if err := child.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	expect(t, lines, "lost [0 1]")
	in.Close()
}

func expect(t *testing.T, lines *bufio.Scanner, want string) {
	t.Helper()
	for lines.Scan() {
		if lines.Text() == want {
			return
		}
		if strings.Contains(lines.Text(), "FAIL") {
			t.Fatal(lines.Text())
		}
	}
	t.Fatalf("the other process ends without %q", want)
}

func ownInChild(t *testing.T, spec string) {
	broker, prefix, _ := strings.Cut(spec, " ")
	o := options(broker)
	o.Prefix = prefix
	l := mustOpen(t, o)
	w := pipelinetest.NewWatcher()
	if err := l.Own(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	fmt.Println("gained", pipelinetest.Await(t, w.Gained, 2))
	fmt.Println("lost", pipelinetest.Await(t, w.Lost, 2))
	os.Stdin.Read(make([]byte, 1)) // until the other is done
}
