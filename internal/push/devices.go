package push

import (
	"time"

	"golang.org/x/time/rate"

	"github.com/rookery-chat/rookery/chat"
)

type deviceKey struct {
	user   chat.User
	device chat.Device
}

// devices remembers a little of each device, in two generations: when the newer
// one has half of the table, the older is forgotten. A device that is forgotten
// has its whole burst again, which it mostly would have had anyway. Guarded by
// Queue.mu.
type devices struct {
	every rate.Limit
	burst int
	half  int

	newer, old map[deviceKey]*deviceState
}

type deviceState struct {
	limit *rate.Limiter
	told  chat.Position // the furthest push of this process
}

func newDevices(every time.Duration, burst, most int) *devices {
	return &devices{every: rate.Every(every), burst: burst, half: max(1, most/2), newer: map[deviceKey]*deviceState{}}
}

// reserve takes a place in a device's rate and returns how long it is till then;
// ok is false, and nothing taken, when that is longer than most.
func (d *devices) reserve(k deviceKey, now time.Time, most time.Duration) (wait time.Duration, ok bool) {
	r := d.of(k).limit.ReserveN(now, 1)
	if wait = r.DelayFrom(now); wait > most {
		r.CancelAt(now)
		return 0, false
	}
	return wait, true
}

// tell notes a push.
func (d *devices) tell(k deviceKey, pos chat.Position) {
	state := d.of(k)
	state.told = max(state.told, pos)
}

// told returns the furthest push that is remembered.
func (d *devices) told(k deviceKey) chat.Position { return d.of(k).told }

// of returns a device's state.
func (d *devices) of(k deviceKey) *deviceState {
	state, ok := d.newer[k]
	if ok {
		return state
	}
	if len(d.newer) >= d.half {
		d.old, d.newer = d.newer, map[deviceKey]*deviceState{}
	}
	if state, ok = d.old[k]; ok {
		delete(d.old, k)
	} else {
		state = &deviceState{limit: rate.NewLimiter(d.every, d.burst)}
	}
	d.newer[k] = state
	return state
}
