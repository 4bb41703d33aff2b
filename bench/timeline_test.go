package bench

import (
	"slices"
	"testing"
	"time"
)

func TestALongTimeHasLongerSteps(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		time.Second: time.Second, 600 * time.Second: time.Second, 601 * time.Second: 2 * time.Second, 1201 * time.Second: 4 * time.Second, 24 * time.Hour: 256 * time.Second,
	} {
		if got := stepOf(d); got != want || d/got > mostValues {
			t.Errorf("%v has steps of %v, want %v", d, got, want)
		}
	}
}

// lineOf is a time line of a result by its name; none has no values.
func lineOf(res *Result, name string) (l TimeLine) {
	if i := slices.IndexFunc(res.TimeLines, func(l TimeLine) bool { return l.Name == name }); i >= 0 {
		l = res.TimeLines[i]
	}
	return l
}

func sumOf(values []float64) (sum float64) {
	for _, v := range values {
		sum += v
	}
	return sum
}

// The time lines of a load are as long as it was, and add up to what it counts.
func TestALoadHasTimeLines(t *testing.T) {
	at, d := startTestServer(t, nil)
	o, res := quick(t, 20), &Result{}
	o.Duration = 2*time.Second + 500*time.Millisecond
	o.Rate = 100
	f := fleetOn(t, o, res, d, 2)
	if err := load(t.Context(), o, res, at, f, patternAnyTwo); err != nil {
		t.Fatal(err)
	}
	for name, unit := range map[string]string{"accepted": "/s", "delivered": "/s", "stored": "/s", "server": "cores", "resident": "MB"} {
		l := lineOf(res, name)
		if l.Unit != unit || l.StepS != 1 || len(l.Values) != 2 || sumOf(l.Values) <= 0 {
			t.Errorf("%s of 2.5 s: %+v", name, l)
		}
	}
	o.Duration, res = 2*time.Second, &Result{}
	if err := load(t.Context(), o, res, at, f, patternAnyTwo); err != nil {
		t.Fatal(err)
	}
	if got := sumOf(lineOf(res, "delivered").Values); got != float64(res.Delivered) {
		t.Errorf("delivered %d, by the time line %v", res.Delivered, got)
	}
	if got := sumOf(lineOf(res, "accepted").Values); got != float64(res.Accepted) {
		t.Errorf("accepted %d, by the time line %v", res.Accepted, got)
	}
}

// A server that took its time to answer has a mean for each step, not one value.
func TestStepsWithoutAReadingHaveTheMean(t *testing.T) {
	f := followed{last: reading{ns: 1e9, counter: 10, server: time.Second}}
	now := reading{ns: 5e9, counter: 50, server: 3 * time.Second, resident: 7e6}
	for range 4 {
		f.add(now)
	}
	if want := []float64{10, 10, 10, 10}; !slices.Equal(f.counted, want) || f.cores[3] != 0.5 || f.megabytes[0] != 7 {
		t.Errorf("%+v", f)
	}
}

// Sessions that come back have a time line that ends with all of them, and a lag.
func TestReconnectHasTimeLines(t *testing.T) {
	at, d := startTestServer(t, nil)
	o, res := quick(t, 20), &Result{}
	o.Duration = time.Minute
	f := fleetOn(t, o, res, d, 2)
	b, err := everybody(t.Context(), o, res, at, f)
	if err != nil {
		t.Fatal(err)
	}
	h, err := f.latencies(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	back := lineOf(res, "sessions back").Values
	if len(back) == 0 || back[len(back)-1] != 20 || uint64(h["load_lag"].TotalCount()) != b.Attempts {
		t.Errorf("%v were back in %v s, %d lags of %d attempts", back, b.SettledSecs, h["load_lag"].TotalCount(), b.Attempts)
	}
	if got := addBack([]float64{1, 3}, []float64{2, 2, 4}); !slices.Equal(got, []float64{3, 5, 7}) {
		t.Errorf("%v", got)
	}
}
