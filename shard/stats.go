package shard

import (
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// PartitionStats is what the owner of one partition has done since it started.
// A hot shard shows in Lag and in its share of Records and ApplyTime.
type PartitionStats struct {
	Partition int

	Applied chat.Position // stored and shown
	Marked  chat.Position // what the store's mark says
	End     chat.Position // of the log
	Lag     uint64        // positions of the log that are not applied
	Halted  bool          // stopped for good; the log says why

	Records   uint64 // read from the log
	Bytes     uint64
	Cycles    uint64 // batches stored
	Largest   uint64 // records of the largest
	Applies   uint64 // calls of the store's Apply that went well
	ApplyTime time.Duration

	Messages    uint64 // stored
	Duplicates  uint64 // messages that had been stored before
	Conflicts   uint64 // messages with the id of another
	Refused     uint64 // messages that a group did not take, and changes of whom a user has blocked
	Unseen      uint64 // messages to who has blocked their sender
	Copies      uint64
	Fanouts     uint64 // messages of groups, for members here
	Gone        uint64 // of which the message had expired
	Waits       uint64 // times that such a message was not there yet
	Repeats     uint64 // copies and forwarded records that had been taken before
	Receipts    uint64 // records that changed a receipt
	DeadLetters uint64 // records that cannot be decoded
	Derived     uint64 // records appended to the log
	Forwarded   uint64 // records that came after the partition's seal
	LookUps     uint64 // messages looked up to see whether they are stored
	Ahead       uint64 // questions asked of the store before a cycle

	StoreErrors   uint64 // calls of the store that were tried again
	DerivedErrors uint64 // appends that were tried again
	ReadErrors    uint64 // reads of the log that were tried again
}

// Stats returns the statistics of the partitions that are owned here.
func (s *Shards) Stats() []PartitionStats {
	var all []PartitionStats
	for p := range s.running {
		if r := s.running[p].Load(); r != nil {
			all = append(all, r.w.snapshot(s.log.End(p)))
		}
	}
	return all
}

func (w *worker) snapshot(end chat.Position) PartitionStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	st := w.stats
	st.Partition = w.p
	st.Applied = chat.Position(w.applied.Load())
	st.Marked = chat.Position(w.marked.Load())
	st.End = end
	switch {
	case end.Epoch() > st.Applied.Epoch():
		st.Lag = end.Offset() // of the newest epoch: the rest of the older ones is not known
	case end > st.Applied:
		st.Lag = uint64(end - st.Applied)
	}
	return st
}

// publish makes the worker's counts visible.
func (w *worker) publish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	halted, readErrors := w.stats.Halted, w.stats.ReadErrors
	w.counts.Derived = w.out.derived
	w.stats = w.counts
	w.stats.Halted, w.stats.ReadErrors = halted, readErrors
}

// count changes statistics that are not the worker's own.
func (w *worker) count(f func(*PartitionStats)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.stats)
}
