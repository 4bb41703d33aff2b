package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/pipeline"
)

// Ownership. A consumer group gives each partition to one process. Only its
// membership is used: nothing is fetched by it, and its committed offsets are
// for tools that show lag. A process that is paused past its session does not
// know that it has lost its partitions until it runs again; what it does until
// then the store ignores (law 3).

// membership is this process's place in the group.
type membership struct {
	mu      sync.Mutex
	cancel  context.CancelFunc // ends Own's work; nil while there is none
	running sync.WaitGroup
	left    bool

	stateMu  sync.Mutex
	released map[int32]int64 // by partition owned, the Kafka offset to commit
}

// member is one Own.
type member struct {
	l     *Log
	owner pipeline.Owner
	cl    *kgo.Client
	ctx   context.Context // ends when everything is to be lost
	wake  chan struct{}   // there is something to gain

	opMu sync.Mutex // held during Gain and Lose

	mu       sync.Mutex
	assigned map[int32]bool // by the group, and whether they are gained
	abort    context.CancelFunc
}

func (m *membership) start() { m.released = map[int32]int64{} }

// Own implements pipeline.Log. It returns at once; gains and losses come from
// goroutines of the log. Gain is tried again while it fails.
func (l *Log) Own(ctx context.Context, owner pipeline.Owner) error {
	s := &l.membership
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left {
		return pipeline.ErrClosed
	}
	if s.cancel != nil {
		return errors.New("kafka log: it has an owner already")
	}
	m := &member{l: l, owner: owner, wake: make(chan struct{}, 1), assigned: map[int32]bool{}}
	ctx, cancel := context.WithCancel(ctx)
	m.ctx = ctx
	var err error
	o := l.o
	o.ClientID += followsMark
	if m.cl, err = newClient(&o, "group", m.groupOpts()...); err != nil {
		cancel()
		return err
	}
	m.cl.PauseFetchTopics(l.topic.Name)
	s.cancel = cancel
	s.running.Go(func() {
		m.run()
		s.mu.Lock()
		s.cancel = nil
		s.mu.Unlock()
	})
	return nil
}

// leave ends Own, as its ctx's end does, and waits for it.
func (s *membership) leave() {
	s.mu.Lock()
	s.left = true
	if s.cancel != nil {
		s.cancel()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// groupName is the consumer group of the epoch. An online one has its own, as it
// and the one before are at work side by side.
func (l *Log) groupName() string {
	if l.topic.Online {
		return fmt.Sprintf("%s.%d", l.o.Group, l.topic.Epoch)
	}
	return l.o.Group
}

func (m *member) groupOpts() []kgo.Opt {
	o := &m.l.o
	return []kgo.Opt{
		kgo.ConsumerGroup(m.l.groupName()),
		kgo.ConsumeTopics(m.l.topic.Name),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(o.SessionTimeout),
		kgo.HeartbeatInterval(o.SessionTimeout / 6),
		// How long an owner has to stop what is under way.
		kgo.RebalanceTimeout(2 * o.SessionTimeout),
		kgo.DisableAutoCommit(),
		// Nothing is fetched here: these offsets are not used.
		kgo.ConsumeStartOffset(kgo.NewOffset().AtEnd()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) { m.assign(ps[m.l.topic.Name]) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) { m.lose(ps[m.l.topic.Name]) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) { m.lose(ps[m.l.topic.Name]) }),
	}
}

// run gains what is assigned and commits, until ctx ends; then it leaves.
func (m *member) run() {
	look := time.NewTicker(m.l.o.CommitEvery)
	defer look.Stop()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for wait := minBackoff; m.ctx.Err() == nil; {
		select {
		case <-m.ctx.Done():
		case <-look.C:
			m.look()
		case <-m.wake:
			retry.Reset(0)
		case <-retry.C:
			if m.gain() {
				wait = minBackoff
				continue
			}
			retry.Reset(wait)
			wait = min(2*wait, maxBackoff)
		}
	}
	m.lose(m.all())
	leaving, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	if err := m.cl.LeaveGroupContext(leaving); err != nil {
		m.l.o.Logger.Warn("the group could not be left, others get the partitions when the session times out", "group", m.l.groupName(), "err", err)
	}
	m.cl.Close()
}

func (m *member) all() []int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.assigned))
}

// assign notes what the group gives; run gains it, so that the group's
// heartbeats never wait for a store.
func (m *member) assign(partitions []int32) {
	m.mu.Lock()
	for _, p := range partitions {
		if _, ok := m.assigned[p]; !ok {
			m.assigned[p] = false
		}
	}
	m.mu.Unlock()
	signal(m.wake)
}

// gain gives the owner what was assigned. It returns false to be tried again.
func (m *member) gain() bool {
	m.opMu.Lock()
	defer m.opMu.Unlock()
	ctx, cancel := context.WithCancel(m.ctx)
	defer cancel()
	m.mu.Lock()
	m.abort = cancel // of a loss meanwhile
	var partitions []int
	for p, gained := range m.assigned {
		if !gained {
			partitions = append(partitions, int(p))
		}
	}
	m.mu.Unlock()
	if len(partitions) == 0 || ctx.Err() != nil {
		return true
	}
	slices.Sort(partitions)
	m.l.membership.watch(partitions)
	err := m.l.refreshEnds(ctx, func(p int) bool { return slices.Contains(partitions, p) })
	if err == nil {
		err = m.owner.Gain(ctx, partitions)
	}
	if err != nil {
		if ctx.Err() == nil {
			m.l.o.Logger.Error("partitions could not be taken over, trying again", "partitions", partitions, "err", err)
		}
		return false
	}
	m.mu.Lock()
	for _, p := range partitions {
		m.assigned[int32(p)] = true
	}
	m.mu.Unlock()
	m.l.stats.gained.Add(uint64(len(partitions)))
	return true
}

// lose takes partitions from the owner before the group gives them to another.
func (m *member) lose(partitions []int32) {
	if len(partitions) == 0 {
		return
	}
	m.mu.Lock()
	if m.abort != nil {
		m.abort()
	}
	m.mu.Unlock()
	m.opMu.Lock()
	defer m.opMu.Unlock()
	var lost []int
	m.mu.Lock()
	for _, p := range partitions {
		if m.assigned[p] {
			lost = append(lost, int(p))
		}
		delete(m.assigned, p)
	}
	m.mu.Unlock()
	signal(m.wake) // what else was being gained
	if len(lost) == 0 {
		return
	}
	m.owner.Lose(lost)
	m.l.stats.lost.Add(uint64(len(lost)))
	for _, p := range lost {
		m.l.stop(m.l.partitions[p])
	}
	m.commit(time.Second)
	m.l.membership.unwatch(lost)
}

// watch has lag counted from now on.
func (m *membership) watch(partitions []int) {
	m.stateMu.Lock()
	defer m.stateMu.Unlock()
	for _, p := range partitions {
		m.released[int32(p)] = 0
	}
}

func (m *membership) unwatch(partitions []int) {
	m.stateMu.Lock()
	defer m.stateMu.Unlock()
	for _, p := range partitions {
		delete(m.released, int32(p))
	}
}

// Release implements pipeline.Log. What is durable is committed to the group
// before long, for lag to be seen; brokers delete by age alone.
func (l *Log) Release(partition int, upTo chat.Position, durable bool) {
	if !durable || upTo.Epoch() != l.topic.Epoch {
		return
	}
	s := &l.membership
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	if at, owned := s.released[int32(partition)]; owned {
		s.released[int32(partition)] = max(at, offsetAfter(upTo))
	}
}

// look finds out how far logs are, and tells the group how far owners are.
func (m *member) look() {
	if err := m.l.refreshEnds(m.ctx, func(int) bool { return false }); err != nil && m.ctx.Err() == nil {
		m.l.o.Logger.Warn("lag is not known", "err", err)
	}
	m.commit(requestTimeout)
}

// commit tells the group how far owners are. It is no matter when that fails.
func (m *member) commit(patience time.Duration) {
	offsets := m.l.membership.offsets()
	if len(offsets) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m.cl.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{m.l.topic.Name: offsets}, nil)
}

func (m *membership) offsets() map[int32]kgo.EpochOffset {
	m.stateMu.Lock()
	defer m.stateMu.Unlock()
	offsets := map[int32]kgo.EpochOffset{}
	for p, at := range m.released {
		if at > 0 {
			offsets[p] = kgo.EpochOffset{Epoch: -1, Offset: at}
		}
	}
	return offsets
}
