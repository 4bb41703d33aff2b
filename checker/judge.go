package main

// judge holds the end against the promises.
func (w *world) judge() {
	for _, d := range w.devices {
		d.mu.Lock()
		for _, m := range w.lost(d) {
			w.ledger.fault("lost: %s never got %x of %s/%s (%d), accepted at %d", d.who(), m.id, m.from, m.device, m.counter, m.place)
		}
		if !w.receiptsComplete(d) {
			w.ledger.fault("lost: receipts of %s do not cover everything that its peers have marked: %v", d.who(), d.receipts)
		}
		d.mu.Unlock()
	}
}

// lost returns accepted messages that a device should have and has not.
func (w *world) lost(d *device) (lost []*message) {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	for _, m := range w.ledger.byTo[d.user] {
		// A second device begins at some position; what was stored before is
		// found in history.
		if !d.got[m.id] && (m.stored == 0 || m.stored > d.start) {
			lost = append(lost, m)
		}
	}
	return lost
}

// receiptsComplete reports whether every accepted message of the user is known
// to be delivered: all its receivers have marked everything.
func (w *world) receiptsComplete(d *device) bool {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	for _, m := range w.ledger.sent {
		if m.from == d.user && m.device == d.name && m.accepted && m.stored > d.receipts[m.to][0] {
			return false
		}
	}
	return true
}
