// Package storagetest is the contract of storage.Store as tests, for every
// implementation to run.
package storagetest

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// Open opens the store that belongs to a test: the first call with a t makes an
// empty one; another call with the same t (told by its name), after the first
// store was closed, opens that one again with what it held. Open fails the test
// when it cannot.
type Open func(t *testing.T) storage.Store

// Run runs the contract, each test on a store of its own.
func Run(t *testing.T, open func(t *testing.T) storage.Store) {
	for _, c := range []struct {
		name string
		test func(f *fixture)
	}{
		{"Message", testMessage},
		{"MessageExpiry", testMessageExpiry},
		{"MessageSameTime", testMessageSameTime},
		{"HistoryOrderAndPages", testHistoryPages},
		{"HistoryExpiry", testHistoryExpiry},
		{"HistoryChatsApart", testHistoryChatsApart},
		{"InboxOrderAndPages", testInboxPages},
		{"InboxBounds", testInboxBounds},
		{"InboxExpiry", testInboxExpiry},
		{"InboxCopies", testInboxCopies},
		{"InboxEpochs", testInboxEpochs},
		{"Senders", testSenders},
		{"Waiting", testWaiting},
		{"Chats", testChats},
		{"ChatsBefore", testChatsBefore},
		{"ChatsExpiry", testChatsExpiry},
		{"ChatsOfKeyShares", testChatsOfKeyShares},
		{"HasChat", testHasChat},
		{"Receipts", testReceipts},
		{"ReceiptPages", testReceiptPages},
		{"ReadTo", testReadTo},
		{"CursorsAndDelivered", testCursors},
		{"Devices", testDevices},
		{"DeviceLabels", testDeviceLabels},
		{"DeviceRevoked", testDeviceRevoked},
		{"DeviceRevokedAtOnce", testDeviceRevokedAtOnce},
		{"LastSeen", testLastSeen},
		{"PushTargets", testPushTargets},
		{"Pushed", testPushed},
		{"KeysPut", testKeysPut},
		{"KeysIdentity", testKeysIdentity},
		{"KeysClaim", testKeysClaim},
		{"KeysRepeated", testKeysRepeated},
		{"KeysAnew", testKeysAnew},
		{"KeysDrop", testKeysDrop},
		{"KeysLimit", testKeysLimit},
		{"KeysClaimedAtOnce", testKeysClaimedAtOnce},
		{"Groups", testGroups},
		{"Blocks", testBlocks},
		{"GroupMessages", testGroupMessages},
		{"Spans", testSpans},
		{"Marks", testMarks},
		{"Applied", testApplied},
		{"Heads", testHeads},
		{"MarkOwner", testMarkOwner},
		{"SweepExpired", testSweepExpired},
		{"SweepStubs", testSweepStubs},
		{"SweepMany", testSweepMany},
		{"SweepInboxes", testSweepInboxes},
		{"SweepNothing", testSweepNothing},
		{"SweepOld", testSweepOld},
		{"SweepOldBounds", testSweepOldBounds},
		{"SweepOldStubs", testSweepOldStubs},
		{"SweepOldMany", testSweepOldMany},
		{"NamesThatBeginAlike", testNames},
		{"Tenants", testTenants},
		{"AppliedTwice", testAppliedTwice},
		{"BatchReused", testBatchReused},
		{"DuplicatesInBatch", testDuplicatesInBatch},
		{"DstKept", testDstKept},
		{"Reopen", testReopen},
		{"Closed", testClosed},
		{"ContextEnded", testContextEnded},
		{"Concurrency", testConcurrency},
		{"Model", testModel},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fixture{T: t, ctx: t.Context(), open: open}
			f.Store = open(t)
			t.Cleanup(func() { f.Store.Close() })
			c.test(f)
		})
	}
}

// fixture is a test with its store.
type fixture struct {
	*testing.T
	storage.Store
	ctx  context.Context
	open Open
}

// reopen closes the store and opens it again.
func (f *fixture) reopen() {
	f.Helper()
	must(f.T, f.Store.Close())
	f.Store = f.open(f.T)
}

func (f *fixture) apply(b storage.Batch) {
	f.Helper()
	must(f.T, f.Store.Apply(f.ctx, &b))
}

// send stores a message and its inbox row at its Place.
func (f *fixture) send(ms ...chat.Message) {
	f.Helper()
	b := storage.Batch{Messages: ms}
	for _, m := range ms {
		b.Inbox = append(b.Inbox, inboxEntry(m))
	}
	f.apply(b)
}

// sweep sweeps until there is no more, and fails when that never ends.
func (f *fixture) sweep(now, inboxBefore, messagesBefore int64) {
	f.Helper()
	for range 10_000 {
		more, err := f.Store.Sweep(f.ctx, now, inboxBefore, messagesBefore)
		must(f.T, err)
		if !more {
			return
		}
	}
	f.Fatal("Sweep says for ever that there is more")
}

func (f *fixture) history(c chat.ChatID, before chat.ID, limit int, now int64) []chat.Message {
	f.Helper()
	ms, err := f.Store.History(f.ctx, c, before, limit, now, nil)
	must(f.T, err)
	return ms
}

// inbox reads a range page by page, and checks what every page promises.
func (f *fixture) inbox(user chat.User, after, upTo chat.Position, limit int, now int64) []chat.Entry {
	f.Helper()
	var all []chat.Entry
	for {
		page, last, err := f.Store.Inbox(f.ctx, user, after, upTo, limit, now, nil)
		must(f.T, err)
		if len(page) > limit {
			f.Fatalf("Inbox returned %d entries, the limit was %d", len(page), limit)
		}
		if last < after || last > upTo || last == after && last != upTo {
			f.Fatalf("Inbox(%d, %d) has read up to %d", after, upTo, last)
		}
		prev := after
		for _, e := range page {
			if e.Prev != prev || e.Pos <= prev || e.Pos > last || e.User != user {
				f.Fatalf("entry %+v of %s comes after %d, in a page that ends at %d", e, user, prev, last)
			}
			prev = e.Pos
		}
		if len(page) > 0 && last != upTo && last != prev {
			f.Fatalf("a page whose last entry is at %d ends at %d", prev, last)
		}
		all = append(all, page...)
		if last == upTo {
			return all
		}
		after = last
	}
}

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// equal fails the test when the two differ; slices of no elements are the same.
func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if g, w := reflect.ValueOf(got), reflect.ValueOf(want); g.Kind() == reflect.Slice && g.Len()+w.Len() == 0 {
		return
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// day0 is when the tests' ids begin, ms since 1970.
const day0 = 1_750_000_000_000

const dayMs = 24 * 60 * 60 * 1000

// idAt makes an id of a time; node tells apart what is of one time.
func idAt(ms int64, node byte) chat.ID {
	const ticksPerMs = 10_000
	const unixEpochTicks = 0x01b21dd213814000
	return chat.NewID(uint64(ms)*ticksPerMs+unixEpochTicks, 7, chat.Node{1, 2, 3, 4, 5, node})
}

// text makes a message that was sent at a time and lies at a place.
func text(from, to chat.User, ms int64, place chat.Position) chat.Message {
	return chat.Message{
		ID: idAt(ms, 0), From: from, To: to, Place: place, At: ms + 3,
		Content: fmt.Appendf(nil, "%s to %s at %d", from, to, ms),
	}
}

// inboxEntry is the receiver's row of a message.
func inboxEntry(m chat.Message) chat.Entry {
	return chat.Entry{Kind: chat.EntryMessage, User: m.To, Pos: m.Place, Message: refOf(m)}
}

// refOf is what an inbox row may read of a message.
func refOf(m chat.Message) chat.Message {
	return chat.Message{ID: m.ID, From: m.From, To: m.To, At: m.At}
}

// ids are the ids of messages, for comparing.
func ids(ms []chat.Message) []chat.ID {
	var out []chat.ID
	for _, m := range ms {
		out = append(out, m.ID)
	}
	return out
}

// reversed returns the messages in the other order.
func reversed(ms []chat.Message) []chat.Message {
	out := make([]chat.Message, 0, len(ms))
	for i := range ms {
		out = append(out, ms[len(ms)-1-i])
	}
	return out
}
