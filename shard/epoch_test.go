package shard

import (
	"errors"
	"reflect"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
)

// A mark without a seal is as programs of before wrote it; one with a seal they
// refuse, as its size is that of no number of partitions.
func TestOwned(t *testing.T) {
	plain := owned{newest: 7, copies: []chat.Position{1, 2}}
	if got := plain.append(nil); len(got) != 24 {
		t.Errorf("%d bytes", len(got))
	}
	var somebody blockers
	somebody.add(12345678901234567890)
	for _, want := range []owned{
		plain,
		{newest: 7, copies: []chat.Position{1, 2}, sealed: 9},
		{newest: 7, copies: []chat.Position{1, 2}, forwards: []chat.Position{3, 4, 5}},
		{newest: 7, copies: []chat.Position{1, 2}, sealed: 9, forwards: []chat.Position{3}},
		{newest: 7, copies: []chat.Position{1, 2}, blockers: somebody},
		{newest: 7, copies: []chat.Position{1, 2}, blockers: somebody, sealed: 9, forwards: []chat.Position{3}},
	} {
		b := string(want.append(nil))
		got := owned{copies: make([]chat.Position, 2)}
		if err := got.decode(b); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
		other := owned{copies: make([]chat.Position, 1)}
		if err := other.decode(b); err == nil {
			t.Errorf("%+v is taken for another number of partitions", want)
		}
	}
}

// A forwarded record where nothing was before, or which holds none, is put
// aside; an epoch whose predecessor is gone does not begin.
func TestForwardOfNothing(t *testing.T) {
	s := newSim(t, 1, 1)
	stray := record.Record{Kind: record.Forward, User: []byte("ann"), Place: 9, Content: []byte("no record")}
	s.log.put(0, record.Append(nil, &stray))
	s.run()
	if len(s.log.letters) != 1 || s.log.letters[0].reason != errNotForwarded.Error() {
		t.Errorf("letters %+v", s.log.letters)
	}
	g := gate{since: Since{Epoch: 1}, store: s.store, logger: s.opt.Logger}
	if _, err := g.look(t.Context()); !errors.Is(err, ErrNoBefore) {
		t.Errorf("without an epoch before: %v", err)
	}
}

func TestRows(t *testing.T) {
	if Row(0, 5) != 5 || Row(3, 1023) == Row(4, 0) || Row(1, 0) <= 1023 || int(int32(Row(1<<15-1, 1023))) != Row(1<<15-1, 1023) {
		t.Error("rows of the store meet, or are no int32")
	}
}
