package cql

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/services"
)

// TestMigrateAtOnce: several at once make one schema, and a later one finds
// nothing to do.
func TestMigrateAtOnce(t *testing.T) {
	o := own(t, services.Cassandra(t), services.Get(t))
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "rookery admin schema") {
		t.Fatalf("opened without a keyspace: %v", err)
	}
	before, err := ReadSchema(t.Context(), o, "1")
	must(t, err)
	if before.Have != 0 || len(before.Statements) == 0 {
		t.Fatalf("of nothing: %+v", before)
	}
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if _, err := Migrate(t.Context(), o, "1"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	after, err := Migrate(t.Context(), o, "1")
	must(t, err)
	if after.Have != schemaVersion || len(after.Statements) != 0 {
		t.Fatalf("migrated: %+v", after)
	}
	s := session(t, o, o.Keyspace)
	defer s.Close()
	var locks, versions int
	must(t, s.Query("SELECT COUNT(*) FROM schema_lock").Scan(&locks))
	must(t, s.Query("SELECT COUNT(*) FROM schema_versions").Scan(&versions))
	if locks != 0 || versions != len(migrations) {
		t.Errorf("%d locks are held, %d versions noted", locks, versions)
	}
	must(t, s.Query("TRUNCATE schema_versions").Exec())
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "rookery admin schema") {
		t.Errorf("opened an older schema: %v", err)
	}
	if _, err := Migrate(t.Context(), o, "1"); err != nil {
		t.Errorf("over what is there already: %v", err)
	}
}

// TestMigrateWaits: who migrates holds the others off, until their patience is
// over or the lock is free.
func TestMigrateWaits(t *testing.T) {
	o := own(t, services.Cassandra(t), services.Get(t))
	m, err := newMigrator(o, "1")
	must(t, err)
	defer m.session.Close()
	must(t, m.prepare(t.Context()))
	unlock, err := m.lock(t.Context())
	must(t, err)
	short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := m.lock(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a second holder: %v", err)
	}
	must(t, unlock())
	again, err := m.lock(t.Context())
	must(t, err)
	must(t, again())
}

func TestReplication(t *testing.T) {
	for asked, want := range map[string]string{
		"dc1:3,dc2:2": "{'class': 'NetworkTopologyStrategy', 'dc1': '3', 'dc2': '2'}",
		"dc1":         "", "dc1:0": "", "dc1:x": "", "d'c:1": "",
	} {
		got, err := replicationOf(asked, nil)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %s, %v", asked, got, err)
		}
	}
}
