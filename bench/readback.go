package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

// sample is a burst to be looked for in the store afterwards.
type sample struct {
	from        *conn
	to          int
	n           uint64 // of the last send
	first, last uint64 // ticks of their ids
	count       int
	dueNs       int64
}

const (
	sampleEvery = 64  // bursts
	samplesKept = 512 // the newest
	pageWithin  = 30 * time.Second
)

// keep notes a burst now and then.
func (r *run) keep(s sample) {
	if r.bursts++; r.bursts%sampleEvery != 0 {
		return
	}
	if len(r.samples) < samplesKept {
		r.samples = append(r.samples, s)
		return
	}
	r.samples[int(r.bursts/sampleEvery)%samplesKept] = s
}

// voided forgets samples of sends that were refused: they are not in the store.
func (r *run) voided(from *conn, n uint64) {
	r.samples = slices.DeleteFunc(r.samples, func(s sample) bool { return s.from == from && s.n >= n })
}

// readBack asks the server for the bodies of samples and compares them. It
// returns how many were as they were sent.
func (r *run) readBack(ctx context.Context, samples, size int) (compared uint64, err error) {
	for i := range min(samples, len(r.samples)) {
		n, err := r.readSample(ctx, &r.samples[i], size)
		if err != nil {
			return compared, err
		}
		compared += uint64(n)
	}
	return compared, nil
}

func (r *run) readSample(ctx context.Context, s *sample, size int) (found int, err error) {
	before, to := chat.NewID(s.last+1, uint16(s.from.index), s.from.node), userOf(s.to)
	for found < s.count {
		r.page = nil
		ask := packet.History{Req: 1, Peer: to, Before: before, Limit: s.count - found}
		s.from.write(ask.AppendTo(nil))
		if ok, err := r.drain(ctx, pageWithin, func() bool { return r.page != nil }); err != nil || !ok {
			return 0, fmt.Errorf("bench: no history page came: %v", err)
		}
		if len(r.page.Rows) == 0 {
			return 0, fmt.Errorf("bench: %d of %d accepted messages of %s to %s are not in the store", s.count-found, s.count, s.from.user, to)
		}
		for i := range r.page.Rows {
			row := &r.page.Rows[i]
			if row.From != s.from.user || row.ID.Ticks() < s.first || len(row.Content) != size || int64(binary.LittleEndian.Uint64(row.Content)) != s.dueNs {
				return 0, fmt.Errorf("bench: the store has another body for %v", row.ID)
			}
			found++
			before = row.ID
		}
	}
	return found, nil
}

func (r *run) historyPage(p packet.Raw) error {
	page := &packet.HistoryPage{}
	if err := page.Decode(p); err != nil {
		return err
	}
	r.page = page
	return nil
}
