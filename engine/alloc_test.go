package engine

import (
	"runtime"
	"testing"
)

// From bytes received to bytes written the engine allocates nothing for a
// connection: input is lent, output comes from the pool.
func TestNoAllocationPerConnection(t *testing.T) {
	opened := make(chan link, 1)
	e := start(t, Options{TickMs: 1000}, hooks{open: into(opened), data: echo})
	client, conn := openOne(t, e, opened)
	in := make([]byte, 100)
	const runs = 500
	onLoop(t, e.Loop(0), func(l *Loop) {
		allocs := testing.AllocsPerRun(runs, func() {
			l.callData(conn.conn, in)
			conn.conn.SetDeadline(l.NowMs() + 30_000)
			l.flush()
		})
		if allocs != 0 {
			t.Errorf("%v allocations", allocs)
		}
	})
	receive(t, client, (runs+1)*len(in))
}

// What a turn of the whole loop allocates does not depend on how many
// connections were served.
func TestAllocationsPerTurn(t *testing.T) {
	e := start(t, Options{TickMs: 1000}, hooks{data: echo})
	c := dial(t, e)
	out, in := make([]byte, 100), make([]byte, 100)
	turn := func() {
		if _, err := c.Write(out); err != nil {
			t.Fatal(err)
		}
		for n := 0; n < len(in); {
			m, err := c.Read(in[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
	}
	const turns = 2000
	for range 100 {
		turn()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range turns {
		turn()
	}
	runtime.ReadMemStats(&after)
	if n := float64(after.Mallocs-before.Mallocs) / turns; n > allocationsPerTurn {
		t.Errorf("%.2f allocations a turn", n)
	}
}
