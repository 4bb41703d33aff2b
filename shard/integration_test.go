package shard

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/pipeline"
	"github.com/rookery-chat/rookery/pipeline/local"
	"github.com/rookery-chat/rookery/storage"
	"github.com/rookery-chat/rookery/storage/pebble"
)

// real is the embedded log and store in a folder.
type real struct {
	t     *testing.T
	dir   string
	log   *local.Log
	store *pebble.Store
	d     *entries
	*Shards
}

func openReal(t *testing.T, dir string, d *entries) *real {
	t.Helper()
	o := quiet()
	log, err := local.Open(local.Options{Dir: filepath.Join(dir, "log"), Partitions: 3, Logger: o.Logger})
	if err != nil {
		t.Fatal(err)
	}
	store, err := pebble.Open(pebble.Options{Dir: filepath.Join(dir, "store"), Logger: o.Logger})
	if err != nil {
		t.Fatal(err)
	}
	o.BatchRecords = 4
	s, err := Start(t.Context(), o, log, store, d)
	if err != nil {
		t.Fatal(err)
	}
	return &real{t: t, dir: dir, log: log, store: store, d: d, Shards: s}
}

// close stops; abruptly it leaves whatever is under way unmarked.
func (r *real) close(abruptly bool) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	if abruptly {
		cancel()
	}
	defer cancel()
	if err := r.Stop(ctx); err != nil && !abruptly {
		r.t.Error(err)
	}
	if err := r.log.Close(); err != nil {
		r.t.Error(err)
	}
	if err := r.store.Close(); err != nil {
		r.t.Error(err)
	}
}

// append appends the records of a workload as gateways do, and returns when
// they are durable.
func (r *real) append(from *memLog, since []int) {
	r.t.Helper()
	var waiting sync.WaitGroup
	for p := range from.parts {
		for ; since[p] < len(from.parts[p].records); since[p]++ {
			waiting.Add(1)
			batch := appendFrame(nil, from.parts[p].records[since[p]].raw)
			for {
				err := r.log.TryAppend(p, batch, 1, func(_ chat.Position, err error) {
					if err != nil {
						r.t.Error(err)
					}
					waiting.Done()
				})
				if err == nil {
					break
				} else if err != pipeline.ErrFull {
					r.t.Fatal(err)
				}
			}
		}
	}
	waiting.Wait()
}

// rows reads back what the contract lets be read.
func (r *real) rows(users []chat.User) *memRows {
	r.t.Helper()
	ctx, rows := context.Background(), newRows()
	for _, user := range users {
		inbox, _, err := r.store.Inbox(ctx, user, 0, r.Applied(r.Ring().PartitionOf(user)), 1<<20, 0, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		rows.inbox[user] = inbox
		cursors, err := r.store.Cursors(ctx, user)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, c := range cursors {
			rows.cursors[pair{user, chat.User(c.Device)}] = c.Position
		}
		for _, peer := range users {
			messages, err1 := r.store.History(ctx, chat.DirectChat(user, peer), chat.ID{}, 1<<20, 0, nil)
			receipts := []storage.ReceiptAt{{Receipt: chat.Receipt{User: user, Peer: peer}}}
			err2 := r.store.ReadReceipts(ctx, receipts)
			read, err3 := r.store.ReadTo(ctx, user, peer)
			if err1 != nil || err2 != nil || err3 != nil {
				r.t.Fatal(err1, err2, err3)
			}
			for _, m := range messages {
				rows.messages[messageKey{m.Chat(), m.ID}] = m
			}
			rows.receipts[pair{user, peer}] = storage.ReceiptAt{Receipt: receipts[0].Receipt}
			rows.reads[pair{user, peer}] = storage.ReadMark{ReadTo: read}
		}
	}
	return &rows
}

// groupRows reads back what there is of the groups that users have.
func (r *real) groupRows(users []chat.User) *memRows {
	r.t.Helper()
	ctx, rows := context.Background(), r.rows(users)
	must := func(err error) {
		if err != nil {
			r.t.Fatal(err)
		}
	}
	groups := map[chat.User]bool{}
	for _, user := range users {
		for _, e := range rows.inbox[user] {
			if e.Message.To.IsGroup() {
				groups[e.Message.To] = true
			}
		}
	}
	for group := range groups {
		messages, err := r.store.History(ctx, chat.GroupChat(group), chat.ID{}, 1<<20, 0, nil)
		must(err)
		for _, m := range messages {
			rows.messages[messageKey{m.Chat(), m.ID}] = m
		}
		info, at, err := r.store.GroupInfo(ctx, group)
		must(err)
		rows.infos[group] = storage.GroupAt{Group: group, Info: info, Pos: at}
		members, err := r.store.Members(ctx, group, "", 1<<20, nil)
		must(err)
		for _, m := range members {
			k := pair{group, m.User}
			rows.members[k] = storage.MemberAt{Group: group, User: m.User, Spans: m.Spans, Pos: m.Changed}
			rows.come[k] = storage.GroupMark{Group: group, User: m.User, Delivered: m.Delivered, Read: m.Read, Sent: m.Sent}
			receipts := []storage.ReceiptAt{{Receipt: chat.Receipt{User: m.User, Peer: group}}}
			must(r.store.ReadReceipts(ctx, receipts))
			rows.receipts[pair{m.User, group}] = storage.ReceiptAt{Receipt: receipts[0].Receipt}
		}
	}
	return rows
}

// recorded reads the whole log back, as a model takes it.
func (r *real) recorded() *memLog {
	all := newMemLog(r.log.Partitions())
	log, err := local.Open(local.Options{Dir: filepath.Join(r.dir, "log"), Logger: quiet().Logger})
	if err != nil {
		r.t.Fatal(err)
	}
	defer log.Close()
	for p := range all.parts {
		for after := chat.Position(0); after < log.End(p); {
			b, err := log.Read(r.t.Context(), p, after, 1<<20)
			if err != nil {
				r.t.Fatal(err)
			}
			for rest := b.Records; len(rest) > 0; {
				var raw []byte
				if raw, rest, err = record.NextFramed(rest); err != nil {
					r.t.Fatal(err)
				}
				after++
				all.parts[p].records = append(all.parts[p].records, memRecord{after, slices.Clone(raw)})
			}
		}
	}
	return all
}

// TestOnTheEmbeddedLogAndStore runs a workload over restarts, clean ones and
// abrupt ones, and holds what is stored against the model of what the log has.
func TestOnTheEmbeddedLogAndStore(t *testing.T) { onTheEmbedded(t, false) }

// TestGroupsOnTheEmbeddedLogAndStore is the same with groups.
func TestGroupsOnTheEmbeddedLogAndStore(t *testing.T) { onTheEmbedded(t, true) }

func onTheEmbedded(t *testing.T, groups bool) {
	for _, abruptly := range []bool{false, true} {
		t.Run(map[bool]string{false: "clean", true: "abrupt"}[abruptly], func(t *testing.T) {
			dir, d := t.TempDir(), newEntries()
			r := openReal(t, dir, d)
			plan := newMemLog(3)
			w := newWorkload(11, plan, r.Ring())
			fill := w.fill
			if groups {
				fill = (&groupLoad{workload: w}).fill
			}
			since := make([]int, 3)
			for range 8 {
				fill(100)
				r.append(plan, since)
				r.close(abruptly)
				r = openReal(t, dir, d)
			}
			until(r.settled)
			rows, groups := r.rows(w.users), r.groupRows(w.users)
			for p, st := range r.Stats() {
				if st.Halted || st.Records == 0 && st.End > st.Marked {
					t.Errorf("partition %d: %+v", p, st)
				}
			}
			r.close(false)
			log := r.recorded()
			plain, rows := direct(log, rows)
			modelOf(t, plain).check(t, w.users, rows)
			m := groupsOf(t, log)
			m.stored(t, groups)
			m.told(t, groups)
		})
	}
}
