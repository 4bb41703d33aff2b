package storagetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// Of testConcurrency.
const (
	owners        = 4
	ownerBatches  = 40
	batchMessages = 25
)

// testConcurrency: while every partition's owner applies and Sweep and Sync
// run, readers see all that an Apply which returned has written, and no row
// whose message is missing.
func testConcurrency(f *fixture) {
	var applied [owners]atomic.Uint64
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	var writing, others sync.WaitGroup
	for p := range owners {
		writing.Go(func() {
			if err := own(ctx, f.Store, p, &applied[p]); err != nil {
				f.Errorf("owner %d: %v", p, err)
			}
		})
		others.Go(func() {
			for done := false; !done; {
				done = ctx.Err() != nil // and once more, when all is applied
				if err := f.readOwned(p, &applied[p]); err != nil {
					f.Errorf("reader of %d: %v", p, err)
					return
				}
			}
		})
	}
	others.Go(func() {
		for i := int64(1); ctx.Err() == nil; i++ {
			if err := f.disturb(i); err != nil {
				f.Errorf("beside: %v", err)
				return
			}
		}
	})
	writing.Wait()
	cancel()
	others.Wait()
}

// ownedUser is the one user of partition p.
func ownedUser(p int) chat.User { return chat.User(fmt.Sprintf("user%d", p%owners)) }

// own applies batches of messages to a partition's user, and publishes how far.
func own(ctx context.Context, s storage.Store, p int, applied *atomic.Uint64) error {
	b := storage.Batch{}
	pos := chat.Position(0)
	for range ownerBatches {
		b.Reset()
		b.Partition = p
		for range batchMessages {
			pos++
			m := text(ownedUser(p+1), ownedUser(p), day0+int64(pos), pos)
			b.Messages = append(b.Messages, m)
			b.Inbox = append(b.Inbox, inboxEntry(m))
		}
		b.Receipts = append(b.Receipts, receiptAt(ownedUser(p), ownedUser(p+1), pos, pos, pos))
		b.Cursors = append(b.Cursors, userCursor(ownedUser(p), "phone", pos))
		b.Mark = storage.Mark{Log: [16]byte{byte(p)}, Position: pos}
		if err := s.Apply(ctx, &b); err != nil {
			return err
		}
		applied.Store(uint64(pos))
	}
	return nil
}

// readOwned reads what is published, all of it.
func (f *fixture) readOwned(p int, applied *atomic.Uint64) error {
	user, peer := ownedUser(p), ownedUser(p+1)
	upTo := chat.Position(applied.Load())
	after, n := chat.Position(0), chat.Position(0)
	for after < upTo {
		page, last, err := f.Store.Inbox(f.ctx, user, after, upTo, 64, day0, nil)
		if err != nil {
			return err
		}
		for _, e := range page {
			if n++; e.Pos != n || e.Message.Place != n || len(e.Message.Content) == 0 {
				return fmt.Errorf("entry %d is %+v", n, e)
			}
		}
		after = last
	}
	if n != upTo {
		return fmt.Errorf("%d entries, %d are applied", n, upTo)
	}
	mark, err := f.Store.Mark(f.ctx, p)
	if err != nil || mark.Position < upTo {
		return fmt.Errorf("mark %+v after %d: %v", mark, upTo, err)
	}
	delivered, err := f.Delivered(f.ctx, user)
	if err != nil || delivered < upTo {
		return fmt.Errorf("delivered %d after %d: %v", delivered, upTo, err)
	}
	r := []storage.ReceiptAt{{Receipt: chat.Receipt{User: user, Peer: peer}}}
	if err := f.ReadReceipts(f.ctx, r); err != nil || r[0].Read < upTo {
		return fmt.Errorf("receipt %+v after %d: %v", r, upTo, err)
	}
	has, err := f.HasChat(f.ctx, peer, user)
	if err != nil || has != (upTo > 0) && upTo > 0 {
		return fmt.Errorf("chat is %v after %d: %v", has, upTo, err)
	}
	ms, err := f.History(f.ctx, chat.DirectChat(user, peer), chat.ID{}, 10, day0, nil)
	if err != nil || upTo > 0 && (len(ms) != 10 || ms[0].Place < upTo) {
		return fmt.Errorf("history of %d after %d: %v", len(ms), upTo, err)
	}
	return nil
}

// disturb does what goes on beside owners and readers.
func (f *fixture) disturb(i int64) error {
	if err := f.Sync(f.ctx); err != nil {
		return err
	}
	if _, err := f.Sweep(f.ctx, i, i, i); err != nil {
		return err
	}
	if err := f.PutLastSeen(f.ctx, "user0", i); err != nil {
		return err
	}
	if err := f.PutDevice(f.ctx, "user1", storage.Device{Name: "phone", Created: i}); err != nil {
		return err
	}
	_, err := f.Store.Chats(f.ctx, "user2", chat.ID{}, 9, 0, nil)
	return err
}
