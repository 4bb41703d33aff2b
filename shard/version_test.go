package shard

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/internal/record"
)

// ofLater is a record as a later version of the program may write it: with flags
// and fields that this one does not know.
func ofLater(raw []byte) []byte {
	raw = append(bytes.Clone(raw), "of a later version"...)
	if raw[0] == record.Version && raw[2]&0x80 == 0 {
		raw[2] |= 0xc0
	}
	return raw
}

// TestTwoVersionsInOneLog has gateways and owners of two versions append to one
// log. What is stored and shown is what the laws say of it, whoever wrote which
// record.
func TestTwoVersionsInOneLog(t *testing.T) {
	for seed := range uint64(12) {
		s := newSim(t, seed, 1+int(seed%4))
		s.log.later = true
		s.dropped = int(seed%3) * 20
		w := &groupLoad{workload: newWorkload(seed, s.log, s.ring)}
		for range 3 {
			w.fill(60)
			s.op, s.crashAt = 0, 1+s.r.IntN(100)
			s.run()
		}
		s.crashAt = 0
		s.run()
		s.lawful(w.users)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestAForwardedRecordIsWhole has a latecomer of a later version forwarded by an
// owner of this one: what the owner does not know of it goes with it (law 16).
func TestAForwardedRecordIsWhole(t *testing.T) {
	s := newShift(t, 3, 2, 3)
	s.fill(5)
	s.rounds(20)
	s.begin()
	late := ofLater(message(s.old.ring, "bob", "ann", 99, 0))
	s.old.log.put(s.old.ring.PartitionOf("bob"), late)
	s.rounds(20)
	s.finish()
	for p := range s.new.log.parts {
		for _, r := range s.new.log.records(t, p) {
			if r.Kind == record.Forward && bytes.Equal(r.Content, late) {
				return
			}
		}
	}
	t.Error("it is not in the new epoch as it was")
}

// TestVersionNRecords has records of a later program among ours: bytes that
// were added to the end of a record are passed over, and a record of a later
// version is kept with its reason and stops nobody.
func TestVersionNRecords(t *testing.T) {
	log, store, d := newMemLog(1), newMemStore(), newEntries()
	ring := NewRing(1, log.identity)
	longer := append(message(ring, "bob", "ann", 1, 0), "what is new"...)
	later := message(ring, "bob", "ann", 2, 0)
	later[0] = record.Version + 1
	log.put(0, longer)
	at := log.put(0, bytes.Clone(later))
	log.put(0, message(ring, "bob", "ann", 3, 0))
	s, err := Start(t.Context(), quiet(), log, store, d)
	if err != nil {
		t.Fatal(err)
	}
	d.await(t, 2)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if box := store.rows.inbox["bob"]; len(box) != 2 || box[0].Pos != 1 || box[1].Pos != 3 {
		t.Errorf("stored are %+v", box)
	}
	if len(log.letters) != 1 || log.letters[0].at != at || log.letters[0].raw != string(later) || !strings.Contains(log.letters[0].reason, "version 2") {
		t.Errorf("kept are %+v", log.letters)
	}
}
