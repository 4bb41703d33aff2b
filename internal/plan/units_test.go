package plan

import (
	"math"
	"testing"
)

func TestParse(t *testing.T) {
	bad := math.NaN()
	for _, c := range []struct {
		parse func(string) (float64, error)
		text  string
		want  float64
	}{
		{ParseCount, "500M", 500e6}, {ParseCount, "1.5K", 1500}, {ParseCount, "0", 0}, {ParseCount, "2T", 2e12}, {ParseCount, "7", 7},
		{ParseCount, "", bad}, {ParseCount, "M", bad}, {ParseCount, "-1", bad}, {ParseCount, "+1", bad}, {ParseCount, "1e6", bad}, {ParseCount, "1 M", bad},
		{ParseCount, "500m", bad}, {ParseCount, "1,000", bad}, {ParseCount, "1_000", bad}, {ParseCount, ".5M", bad}, {ParseCount, "5.", bad}, {ParseCount, "0x10", bad},
		{ParseCount, "inf", bad}, {ParseCount, "NaN", bad}, {ParseCount, "500MM", bad}, {ParseCount, "1.2.3", bad}, {ParseCount, "٥", bad},
		{ParseShare, "20%", 0.2}, {ParseShare, "0%", 0}, {ParseShare, "100%", 1}, {ParseShare, "0.5%", 0.005},
		{ParseShare, "20", bad}, {ParseShare, "0.2", bad}, {ParseShare, "101%", bad}, {ParseShare, "%", bad}, {ParseShare, "20 %", bad},
		{ParseRate, "100B/day", 100e9}, {ParseRate, "1K/s", 86.4e6}, {ParseRate, "1/min", 1440}, {ParseRate, "2/h", 48},
		{ParseRate, "100B", bad}, {ParseRate, "/day", bad}, {ParseRate, "100B/d", bad}, {ParseRate, "100B /day", bad}, {ParseRate, "1/week", bad},
		{ParseDays, "5y", 1825}, {ParseDays, "30d", 30}, {ParseDays, "2w", 14}, {ParseDays, "0.5d", 0.5}, {ParseDays, "5", bad}, {ParseDays, "5 y", bad}, {ParseDays, "1m", bad},
		{ParseBytes, "100", 100}, {ParseBytes, "100B", 100}, {ParseBytes, "64KiB", 65536}, {ParseBytes, "24GiB", 24 << 30}, {ParseBytes, "8TB", 8e12}, {ParseBytes, "1kB", 1000},
		{ParseBytes, "1KB", bad}, {ParseBytes, "1k", bad}, {ParseBytes, "GiB", bad},
	} {
		got, err := c.parse(c.text)
		if math.IsNaN(c.want) {
			if err == nil {
				t.Errorf("%q is taken for %v", c.text, got)
			}
			continue
		}
		if err != nil || math.Abs(got-c.want) > 1e-9*c.want {
			t.Errorf("%q is %v, %v, not %v", c.text, got, err, c.want)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		value float64
		unit  string
		want  string
	}{
		{18.25e15, UnitBytes, "18.25 PB"}, {100, UnitBytes, "100 B"}, {3353, UnitBytes, "3,353 B"}, {33e3, UnitBytes, "33 kB"}, {562.96e6, UnitBytesPS, "563 MB/s"},
		{1157407.4, UnitPerS, "1.157M/s"}, {653_594.77, UnitCount, "653,595"}, {100e9, UnitPerDay, "100B/day"}, {1, UnitFactor, "1×"}, {0.2, UnitShare, "20%"},
		{150, UnitUs, "150 µs"}, {0, UnitCount, "0"}, {1825, UnitDays, "1,825 days"}, {12, UnitPrice, "$12"}, {0.0123, UnitMs, "0.0123 ms"},
	} {
		if got := Format(c.value, c.unit); got != c.want {
			t.Errorf("%v %s is written %q, not %q", c.value, c.unit, got, c.want)
		}
	}
}

// FuzzParse holds that what is taken is finite and not negative, and that its
// digits stand in the text.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"500M", "20%", "100B/day", "5y", "64KiB", "1e400", "9999999999999999999999T/s", "--1", "0.1.1%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func(string) (float64, error){ParseCount, ParseShare, ParseRate, ParseDays, ParseBytes} {
			v, err := parse(s)
			if err != nil {
				continue
			}
			if v < 0 || math.IsNaN(v) || math.IsInf(v, 0) {
				t.Errorf("%q is taken for %v", s, v)
			}
			if s[0] < '0' || s[0] > '9' {
				t.Errorf("%q is taken, and begins with no digit", s)
			}
		}
	})
}
