package cql

import (
	"testing"

	"github.com/rookery-chat/rookery/storage"
	"github.com/rookery-chat/rookery/storage/storagetest"
)

func TestContract(t *testing.T) {
	opened := map[string]bool{} // by the test's name: reopening finds it again
	storagetest.Run(t, func(t *testing.T) storage.Store {
		o := shared.options
		if !opened[t.Name()] {
			o = fresh(t)
			opened[t.Name()] = true
		}
		s, err := Open(o)
		must(t, err)
		return s
	})
}
