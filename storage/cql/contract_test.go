package cql

import (
	"testing"

	"github.com/rookery-chat/rookery/storage"
	"github.com/rookery-chat/rookery/storage/storagetest"
)

// TestContract runs in one keyspace, which is emptied for each test: to make its
// tables takes longer than most tests do.
func TestContract(t *testing.T) {
	o := options(t)
	o.Connections = 1
	s := open(t, o)
	must(t, s.Close())
	beside := session(t, o, o.Keyspace)
	defer beside.Close()
	must(t, beside.Query("ALTER KEYSPACE "+o.Keyspace+" WITH durable_writes = false").Exec())

	opened := map[string]bool{} // by the test's name: reopening finds it again
	storagetest.Run(t, func(t *testing.T) storage.Store {
		if !opened[t.Name()] {
			empty(t, beside)
			opened[t.Name()] = true
		}
		s, err := Open(o)
		must(t, err)
		return s
	})
}
