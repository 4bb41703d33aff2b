package bench

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

// sample is a burst to be looked for in the store afterwards.
type sample struct {
	from, to    *conn
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

// readBack asks the server for the bodies of samples and compares them.
func (r *run) readBack(res *Result, samples, size int) error {
	for i := range min(samples, len(r.samples)) {
		if err := r.readSample(res, &r.samples[i], size); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) readSample(res *Result, s *sample, size int) error {
	before, found := chat.NewID(s.last+1, uint16(s.from.index), s.from.node), 0
	for found < s.count {
		r.page = nil
		ask := packet.History{Req: 1, Peer: s.to.user, Before: before, Limit: s.count - found}
		s.from.write(ask.AppendTo(nil))
		if ok, err := r.drain(pageWithin, func() bool { return r.page != nil }); err != nil || !ok {
			return fmt.Errorf("bench: no history page came: %v", err)
		}
		if len(r.page.Rows) == 0 {
			return fmt.Errorf("bench: %d of %d accepted messages of %s to %s are not in the store", s.count-found, s.count, s.from.user, s.to.user)
		}
		for i := range r.page.Rows {
			row := &r.page.Rows[i]
			if row.From != s.from.user || row.ID.Ticks() < s.first || len(row.Content) != size || int64(binary.LittleEndian.Uint64(row.Content)) != s.dueNs {
				return fmt.Errorf("bench: the store has another body for %v", row.ID)
			}
			found++
			before = row.ID
		}
	}
	res.ReadBack += uint64(found)
	return nil
}

func (r *run) historyPage(p packet.Raw) error {
	page := &packet.HistoryPage{}
	if err := page.Decode(p); err != nil {
		return err
	}
	r.page = page
	return nil
}
