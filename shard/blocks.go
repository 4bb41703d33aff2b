package shard

import (
	"context"
	"slices"
	"strings"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/view"
	"github.com/rookery-chat/rookery/storage"
)

// Whom a user has blocked is kept as members of a group are: the changes are
// messages of the user to themself, judged at their place, and the rows have the
// spans, asked as of a place (laws 3 and 12). A message of somebody who is
// blocked is stored and copied to its sender's devices like any other; it is no
// link of the receiver's chain, so nobody gets it and nothing is told of it.

// blockKey is a user and whom they may have blocked.
type blockKey struct{ user, peer chat.User }

// block is since when a user has blocked a peer.
type block struct {
	spans  []storage.Span // never changed in place: rows refer to them
	stored chat.Position  // up to where the store knows them
}

const (
	keptBlocks = 1 << 12 // in memory, between cycles

	// defaultBlocks is for a record that does not say how many a user may block.
	defaultBlocks = 1000
)

// blockers is a Bloom filter of the users who have ever blocked somebody: of all
// others nothing need be asked. It is kept with the mark. nil: nobody has.
type blockers []uint64

// blockersWords is its size: with 1,600 users of the partition in it, one in a
// hundred others is asked for in vain.
const blockersWords = 256

const blockersProbes = 4

func (b blockers) has(hash uint64) bool {
	if b == nil {
		return false
	}
	for range blockersProbes {
		if b[hash/64%blockersWords]&(1<<(hash%64)) == 0 {
			return false
		}
		hash >>= 14
	}
	return true
}

func (b *blockers) add(hash uint64) {
	if *b == nil {
		*b = make(blockers, blockersWords)
	}
	for range blockersProbes {
		(*b)[hash/64%blockersWords] |= 1 << (hash % 64)
		hash >>= 14
	}
}

// join adds what another one has. Both are of logs with one key.
func (b *blockers) join(other blockers) {
	if other != nil && *b == nil {
		*b = make(blockers, blockersWords)
	}
	for i, word := range other {
		(*b)[i] |= word
	}
}

// fill makes it say of everybody that they may have blocked somebody.
func (b blockers) fill() {
	for i := range b {
		b[i] = 1<<64 - 1
	}
}

// mayBlock reports whether a user may have blocked somebody, from memory.
func (w *worker) mayBlock(user chat.User) bool {
	return w.blockers != nil && w.blockers.has(w.hashKey(keyBlocks, view.Bytes(user), nil, nil))
}

// blocked reports whether a user has blocked a peer at the place of a record.
func (w *worker) blocked(ctx context.Context, user, peer chat.User, pos chat.Position) (bool, error) {
	if !w.mayBlock(user) || user == peer || peer.IsGroup() {
		return false, nil
	}
	b, err := w.block(ctx, user, peer)
	if err != nil {
		return false, err
	}
	of := storage.Member{Spans: b.spans}
	_, is := of.At(pos)
	return is, nil
}

// block returns what is known of a user and a peer. The store may be ahead of
// what is built: spans are asked as of a place.
func (w *worker) block(ctx context.Context, user, peer chat.User) (*block, error) {
	if b := w.blocks[blockKey{user, peer}]; b != nil {
		return b, nil
	}
	var m storage.Member
	if err := w.try(ctx, "block", func() (err error) {
		m, err = w.store.Member(ctx, user, peer)
		return err
	}); err != nil {
		return nil, err
	}
	b := &block{m.Spans, m.Changed}
	w.blocks[blockKey{chat.User(strings.Clone(string(user))), chat.User(strings.Clone(string(peer)))}] = b
	return b, nil
}

// forgetBlocks gives back memory. Not within a cycle, whose rows the store does
// not know yet.
func (w *worker) forgetBlocks(over int) {
	if len(w.blocks) > over {
		clear(w.blocks)
	}
}

// changeBlocks judges a change of whom a user has blocked, a message to
// themself, and makes its rows.
func (w *worker) changeBlocks(ctx context.Context, m *chat.Message, pos chat.Position) (chat.Code, error) {
	c, err := chat.ParseChange(m.Content)
	if err != nil || m.From != m.To || c.Verb != chat.GroupAdd && c.Verb != chat.GroupRemove {
		return chat.CodeBadChange, nil
	}
	slices.Sort(c.Users)
	c.Users = slices.Compact(c.Users)
	on := c.Verb == chat.GroupAdd
	if on {
		if fits, err := w.blocksFit(ctx, m.From, &c, pos); err != nil || !fits {
			return chat.CodeTooMany, err
		}
	}
	user := chat.User(strings.Clone(string(m.From)))
	for _, peer := range c.Users {
		if peer = user.Beside(peer); peer == user {
			continue
		}
		b, err := w.block(ctx, user, peer)
		if err != nil {
			return chat.CodeOK, err
		}
		spans, changed := turned(storage.AsOf(b.spans, pos), pos, on)
		if changed && b.stored < pos {
			b.spans, b.stored = spans, pos
			w.batch.Members = append(w.batch.Members, storage.MemberAt{Group: user, User: peer, Spans: spans, Pos: pos})
		}
	}
	w.blockers.add(w.hashKey(keyBlocks, view.Bytes(user), nil, nil))
	return chat.CodeOK, nil
}

// turned is spans with a block that begins or ends at a place. One that began as
// often as spans may be stays: what is forgotten could not be asked any more.
func turned(spans []storage.Span, pos chat.Position, on bool) (_ []storage.Span, changed bool) {
	last := len(spans) - 1
	is := last >= 0 && spans[last].To == 0
	switch {
	case is == on, !on && len(spans) == storage.MaxSpans:
		return spans, false
	case on:
		return append(slices.Clone(spans), storage.Span{From: pos}), true
	}
	spans = slices.Clone(spans)
	spans[last].To = pos
	return spans, true
}

// blocksFit reports whether a user has not more blocked, with those named, than
// the record says they may.
func (w *worker) blocksFit(ctx context.Context, user chat.User, c *chat.Change, pos chat.Position) (bool, error) {
	most := int(w.rec.Place)
	if most == 0 {
		most = defaultBlocks
	}
	is := map[chat.User]bool{}
	note := func(peer chat.User, spans []storage.Span) {
		of := storage.AsOf(spans, pos)
		is[peer] = len(of) > 0 && of[len(of)-1].To == 0
	}
	if w.mayBlock(user) {
		if err := w.eachMember(ctx, user, func(m *storage.Member) { note(m.User, m.Spans) }); err != nil {
			return false, err
		}
		for i := range w.batch.Members { // of this cycle: the store has them later
			if m := &w.batch.Members[i]; m.Group == user {
				note(m.User, m.Spans)
			}
		}
	}
	for _, peer := range c.Users {
		is[user.Beside(peer)] = true
	}
	n := 0
	for _, blocked := range is {
		if blocked {
			n++
		}
	}
	return n <= most, nil
}
