package redis

import (
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/internal/presence/presencetest"
	"github.com/rookery-chat/rookery/internal/services"
)

// A gateway that holds a lease and says no more is of a version that does not go
// on in the next epoch of the log, also where it has the name of one that did.
func TestDeaf(t *testing.T) {
	b := newBackend(t, services.Redis(t))
	d, asks := b.join(t, "new", presence.Handler{}), b.join(t, "", presence.Handler{})
	deaf := func() string {
		t.Helper()
		all, err := asks.Deaf(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, g := range all {
			names = append(names, g.ID+" "+g.Address)
		}
		return strings.Join(names, ",")
	}
	presencetest.Eventually(t, "the gateway says that it follows", func() bool { return deaf() == "" })
	b.do(t, "SADD", d.keys.gateways(), "old")
	b.do(t, "SET", d.keys.lease("old"), "7 10.0.0.9:4000")
	b.do(t, "HSET", d.keys.follow(), "old", number(6)) // of an earlier life, which did
	if got := deaf(); got != "old 10.0.0.9:4000" {
		t.Errorf("deaf are %q", got)
	}
	b.do(t, "DEL", d.keys.lease("old"))
	if got := deaf(); got != "" {
		t.Errorf("without a lease, deaf are %q", got)
	}
	b.Lose(t, d) // and takes a new one
	presencetest.Eventually(t, "another lease", func() bool { return d.Stats.LeasesTaken.Load() == 2 })
	presencetest.Eventually(t, "it says so in its new life", func() bool { return deaf() == "" })
}
