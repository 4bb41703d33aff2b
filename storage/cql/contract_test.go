package cql

import (
	"testing"

	"github.com/rookery-chat/rookery/storage"
	"github.com/rookery-chat/rookery/storage/storagetest"
)

func TestContract(t *testing.T) { contract(t, false) }

// TestContractWithRuns: with rows of several entries all is as without.
func TestContractWithRuns(t *testing.T) { contract(t, true) }

func contract(t *testing.T, runs bool) {
	opened := map[string]bool{} // by the test's name: reopening finds it again
	storagetest.Run(t, func(t *testing.T) storage.Store {
		o := shared.options
		if !opened[t.Name()] {
			o = fresh(t)
			opened[t.Name()] = true
		}
		o.InboxRuns = runs
		s, err := Open(o)
		must(t, err)
		return s
	})
}
