package cql

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gocql/gocql"
)

// testLink is a link without a cluster, for so many requests at once.
func testLink(tokens int) *link {
	l := &link{opt: new(Options), log: slog.New(slog.DiscardHandler), lost: make(chan struct{}, 1), tokens: make(chan struct{}, tokens)}
	for range tokens {
		l.tokens <- struct{}{}
	}
	return l
}

// TestInFlight: more requests than may be under way wait for the others.
func TestInFlight(t *testing.T) {
	l := testLink(3)
	var now, most atomic.Int64
	full, hold := make(chan struct{}, 20), make(chan struct{})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			l.do(t.Context(), func(*gocql.Session) error {
				raise(&most, now.Add(1))
				full <- struct{}{}
				<-hold
				now.Add(-1)
				return nil
			})
		})
	}
	for range 3 {
		<-full
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.do(ended, func(*gocql.Session) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that has ended waits for a turn: %v", err)
	}
	close(hold)
	all.Wait()
	if most.Load() != 3 {
		t.Errorf("%d requests at once", most.Load())
	}
}

// TestNoNode: a request that finds no node is tried again for a moment, and the
// session's watch is told; one that fails otherwise is not.
func TestNoNode(t *testing.T) {
	l := testLink(1)
	tries := 0
	err := l.do(t.Context(), func(*gocql.Session) error {
		if tries++; tries < 3 {
			return gocql.ErrNoConnections
		}
		return nil
	})
	if err != nil || tries != 3 || len(l.lost) != 1 {
		t.Errorf("%v after %d tries", err, tries)
	}
	for want, fails := range map[int]error{1: gocql.ErrTimeoutNoResponse, 4: gocql.ErrNoConnections} {
		tries = 0
		err := l.do(t.Context(), func(*gocql.Session) error { tries++; return fails })
		if !errors.Is(err, fails) || tries != want {
			t.Errorf("%v: %v after %d tries", fails, err, tries)
		}
	}
}
