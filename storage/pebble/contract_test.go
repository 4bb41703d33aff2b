package pebble_test

import (
	"log/slog"
	"testing"

	"github.com/rookery-chat/rookery/storage"
	"github.com/rookery-chat/rookery/storage/pebble"
	"github.com/rookery-chat/rookery/storage/storagetest"
)

func TestContract(t *testing.T) {
	dirs := map[string]string{} // by the test's name: reopening finds it again
	storagetest.Run(t, func(t *testing.T) storage.Store {
		if dirs[t.Name()] == "" {
			dirs[t.Name()] = t.TempDir()
		}
		s, err := pebble.Open(pebble.Options{Dir: dirs[t.Name()], Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
