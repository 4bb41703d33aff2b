package plan

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// unit is a suffix and what it multiplies with.
type unit struct {
	suffix string
	factor float64
}

var (
	countUnits = []unit{{"K", 1e3}, {"M", 1e6}, {"B", 1e9}, {"T", 1e12}, {"", 1}}
	byteUnits  = []unit{
		{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
		{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"PB", 1e15}, {"B", 1}, {"", 1},
	}
	dayUnits  = []unit{{"d", 1}, {"w", 7}, {"y", 365}}
	rateUnits = []unit{{"/s", 86400}, {"/min", 1440}, {"/h", 24}, {"/day", 1}}
)

// number parses digits with at most one point between them, and a suffix of the
// list. No sign, exponent, space or separator.
func number(text string, units []unit) (float64, bool) {
	for _, u := range units {
		digits, found := strings.CutSuffix(text, u.suffix)
		if !found || !isDecimal(digits) {
			continue
		}
		v, err := strconv.ParseFloat(digits, 64)
		v *= u.factor
		return v, err == nil && !math.IsInf(v, 0)
	}
	return 0, false
}

func isDecimal(s string) bool {
	whole, fraction, point := strings.Cut(s, ".")
	return isDigits(whole) && (!point || isDigits(fraction))
}

func isDigits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

// ParseCount reads a number of things, such as 500M: K, M, B and T are powers of
// a thousand.
func ParseCount(s string) (float64, error) {
	v, ok := number(s, countUnits)
	if !ok {
		return 0, fmt.Errorf("%q is no number; write one such as 1500, 2.5K, 500M, 100B or 1T", s)
	}
	return v, nil
}

// ParseShare reads a percentage from 0% to 100% as a share from 0 to 1.
func ParseShare(s string) (float64, error) {
	v, ok := number(s, []unit{{"%", 1}})
	if !ok || v > 100 {
		return 0, fmt.Errorf("%q is no share; write a percentage from 0%% to 100%%, such as 20%%", s)
	}
	return v / 100, nil
}

// ParseRate reads a number for a time, such as 100B/day, as one a day.
func ParseRate(s string) (float64, error) {
	for _, u := range rateUnits {
		if count, ok := strings.CutSuffix(s, u.suffix); ok {
			v, err := ParseCount(count)
			if v *= u.factor; err != nil || math.IsInf(v, 0) {
				break
			}
			return v, nil
		}
	}
	return 0, fmt.Errorf("%q is no rate; write a number and /s, /min, /h or /day, such as 100B/day", s)
}

// ParseDays reads a time of days (d), weeks (w) or years of 365 days (y).
func ParseDays(s string) (float64, error) {
	v, ok := number(s, dayUnits)
	if !ok {
		return 0, fmt.Errorf("%q is no time; write days, weeks or years of 365 days, such as 30d, 4w or 5y", s)
	}
	return v, nil
}

// ParseBytes reads a size: 100, 100B, 64KiB, 24GiB, 8TB.
func ParseBytes(s string) (float64, error) {
	v, ok := number(s, byteUnits)
	if !ok {
		return 0, fmt.Errorf("%q is no size; write bytes such as 100, 64KiB, 24GiB or 8TB", s)
	}
	return v, nil
}

// Units of values.
const (
	UnitCount   = ""
	UnitShare   = "share"
	UnitBytes   = "bytes"
	UnitPerS    = "/s"
	UnitPerDay  = "/day"
	UnitBytesPS = "bytes/s"
	UnitUs      = "µs"
	UnitMs      = "ms"
	UnitS       = "s"
	UnitDays    = "days"
	UnitCores   = "cores"
	UnitFactor  = "×"
	UnitPrice   = "USD/month"
)

// parseValue reads what is set, in the value's unit: 150 and 150us are the same
// where the unit is µs.
func parseValue(unit, s string) (float64, error) {
	switch unit {
	case UnitShare:
		return ParseShare(s)
	case UnitBytes, UnitBytesPS:
		return ParseBytes(strings.TrimSuffix(s, "/s"))
	case UnitPerDay:
		return ParseRate(s)
	case UnitDays:
		if isDecimal(s) {
			s += "d"
		}
		return ParseDays(s)
	case UnitUs:
		s = strings.TrimSuffix(strings.TrimSuffix(s, "us"), "µs")
	case UnitMs, UnitS, UnitPerS:
		s = strings.TrimSuffix(s, unit)
	}
	return ParseCount(s)
}

// Format writes a value in its unit, with three or four digits.
func Format(v float64, unit string) string {
	switch unit {
	case UnitShare:
		return digits(v*100) + "%"
	case UnitBytes, UnitBytesPS:
		s := scaled(v, " ", []unitName{{1e15, "PB"}, {1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e4, "kB"}, {0, "B"}})
		if unit == UnitBytesPS {
			s += "/s"
		}
		return s
	case UnitCount, UnitFactor, UnitPerS, UnitPerDay:
		return scaled(v, "", []unitName{{1e12, "T"}, {1e9, "B"}, {1e6, "M"}, {0, ""}}) + map[string]string{UnitFactor: "×"}[unit] + rate(unit)
	case UnitPrice:
		return "$" + scaled(v, "", []unitName{{1e9, "B"}, {1e6, "M"}, {0, ""}})
	}
	return digits(v) + " " + unit
}

func rate(unit string) string {
	if strings.HasPrefix(unit, "/") {
		return unit
	}
	return ""
}

type unitName struct {
	from float64
	name string
}

func scaled(v float64, space string, names []unitName) string {
	for _, n := range names {
		if n.from > 0 && v >= n.from {
			factor := n.from
			if n.name == "kB" {
				factor = 1e3
			}
			return digits(v/factor) + space + n.name
		}
		if n.from == 0 {
			if n.name == "" {
				space = ""
			}
			return digits(v) + space + n.name
		}
	}
	return digits(v)
}

// digits writes a number with thousands set apart and no more than four digits
// that say something, but whole numbers whole.
func digits(v float64) string {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	places := 0
	if math.Abs(v-math.Round(v)) > 1e-9*math.Abs(v) {
		places = max(0, 3-int(math.Floor(math.Log10(math.Abs(v)))))
	}
	s := strconv.FormatFloat(v, 'f', places, 64)
	whole, fraction, _ := strings.Cut(s, ".")
	if fraction = strings.TrimRight(fraction, "0"); fraction != "" {
		fraction = "." + fraction
	}
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	return whole + fraction
}
