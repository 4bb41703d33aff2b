package shard

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/internal/record"
)

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
