package main

import "sync"

// crowd is devices and the truth about them.
type crowd struct {
	ledger  *ledger
	devices []*device
}

// judge holds the end against the promises.
func (w *crowd) judge() {
	for _, d := range w.devices {
		d.mu.Lock()
		messages, copies := w.lost(d)
		for _, m := range messages {
			w.ledger.fault("lost: %s never got %x of %s/%s (%d), accepted at %d", d.who(), m.id, m.from, m.device, m.counter, m.place)
		}
		for _, m := range copies {
			w.ledger.fault("lost: %s never got its copy of %x from %s (%d) to %s, stored at %d", d.who(), m.id, m.device, m.counter, m.to, m.stored)
		}
		if peer, pos := w.unticked(d); peer != "" {
			w.ledger.fault("lost: %s has a receipt of %s up to %d and not up to %d, which has been marked", d.who(), peer, d.receipts[peer][0], pos)
		}
		d.mu.Unlock()
	}
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	byUser := w.byUser()
	for _, g := range w.ledger.groups {
		g.judge(byUser, w.ledger.faultLocked)
	}
}

func (w *crowd) byUser() map[string][]*device {
	by := map[string][]*device{}
	for _, d := range w.devices {
		by[d.user] = append(by[d.user], d)
	}
	return by
}

// whole reports whether everybody has what there is for them of groups.
func (w *crowd) whole() bool {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	byUser := w.byUser()
	for _, g := range w.ledger.groups {
		if g.pending(byUser) > 0 {
			return false
		}
	}
	return true
}

// lost returns accepted messages that a device should have and has not, and
// copies of what other devices of its user sent.
func (w *crowd) lost(d *device) (messages, copies []*message) {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	for _, m := range w.ledger.byTo[d.user] {
		// A second device begins at some position; what was stored before is
		// found in history.
		if m.got&d.bit == 0 && (m.stored == 0 || m.stored > d.start) {
			messages = append(messages, m)
		}
	}
	for _, m := range w.ledger.byFrom[d.user] {
		if m.owed && m.copied&d.bit == 0 {
			copies = append(copies, m)
		}
	}
	return messages, copies
}

// unticked returns a peer who has marked what the device does not know to be
// delivered; "" if there is none: all receivers have marked everything.
func (w *crowd) unticked(d *device) (peer string, pos uint64) {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	for peer, pos := range w.ledger.owed[d.user] {
		if pos > d.receipts[peer][0] {
			return peer, pos
		}
	}
	for _, g := range d.groups {
		if place := g.owed(d.user); place > d.receipts[g.name][0] {
			return g.name, place
		}
	}
	return "", 0
}

// complete reports whether nothing is missing.
func (w *crowd) complete() bool {
	return w.whole() && w.all(func(d *device) bool {
		messages, copies := w.lost(d)
		peer, _ := w.unticked(d)
		return len(messages) == 0 && len(copies) == 0 && peer == ""
	})
}

// received is how many messages and copies all devices have taken.
func (w *crowd) received() int {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	return w.ledger.delivered
}

// each runs f for all devices at once.
func (w *crowd) each(f func(i int, d *device)) {
	var wg sync.WaitGroup
	for i, d := range w.devices {
		wg.Go(func() { f(i, d) })
	}
	wg.Wait()
}

// all reports whether f holds for every device.
func (w *crowd) all(f func(d *device) bool) bool {
	for _, d := range w.devices {
		d.mu.Lock()
		ok := f(d)
		d.mu.Unlock()
		if !ok {
			return false
		}
	}
	return true
}
