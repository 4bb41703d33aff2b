package config

import (
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is the type of a key's value.
type Kind uint8

// The kinds.
const (
	Text     Kind = iota // any string
	Choice               // one of Key.Choices
	List                 // strings; comma-separated outside YAML
	Int                  // a whole number
	Size                 // bytes: 4096, 64KiB, 1MiB, 4GiB
	Duration             // 150ms, 30s, 5m, 12h, 30d
	Address              // host:port
	Memory               // "auto", "off" or a size
	Bool                 // true or false
)

// String returns the kind as the documents name it.
func (k Kind) String() string {
	return [...]string{"text", "choice", "list", "number", "size", "duration", "address", "auto|off|size", "true|false"}[k]
}

// set parses a value and puts it in its field. values has one element but for
// a List from YAML.
func (k *Key) set(c *Config, values []string) error {
	if k.Kind == List {
		return k.setList(c, values)
	}
	if len(values) != 1 {
		return fmt.Errorf("takes one value, not a list")
	}
	v := strings.TrimSpace(values[0])
	switch p := k.field(c).(type) {
	case *bool:
		if err := k.checkText(v); err != nil {
			return err
		}
		*p = v == "true"
	case *string:
		if err := k.checkText(v); err != nil {
			return err
		}
		*p = v
	case *int:
		n, err := k.number(v)
		if err != nil {
			return err
		}
		*p = int(n)
	case *int64:
		n, err := k.number(v)
		if err != nil {
			return err
		}
		*p = n
	case *time.Duration:
		n, err := k.number(v)
		if err != nil {
			return err
		}
		*p = time.Duration(n)
	}
	return nil
}

func (k *Key) setList(c *Config, values []string) error {
	list := []string{}
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			part = strings.TrimSpace(part)
			if part == "" {
				continue
			}
			if k.Choices != nil && !slices.Contains(k.Choices, part) {
				return fmt.Errorf("%q is none of %s", part, strings.Join(k.Choices, ", "))
			}
			list = append(list, part)
		}
	}
	*k.field(c).(*[]string) = list
	return nil
}

func (k *Key) checkText(v string) error {
	switch k.Kind {
	case Choice, Bool:
		if !slices.Contains(k.Choices, v) {
			return fmt.Errorf("%q is none of %s", v, strings.Join(k.Choices, ", "))
		}
	case Address:
		return checkAddress(v)
	case Memory:
		if v != "auto" && v != "off" {
			_, err := k.number(v)
			return err
		}
	}
	return nil
}

func checkAddress(v string) error {
	_, port, err := net.SplitHostPort(v)
	if err != nil {
		return fmt.Errorf("%q is no host:port", v)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q: the port is a number from 0 to 65535", v)
	}
	return nil
}

// number parses what has a unit, and holds it against the key's bounds.
func (k *Key) number(v string) (int64, error) {
	var n int64
	var err error
	switch k.Kind {
	case Duration:
		n, err = parseDuration(v)
	case Size, Memory:
		n, err = ParseSize(v)
	default:
		n, err = strconv.ParseInt(v, 10, 64)
		if err != nil {
			err = fmt.Errorf("%q is no whole number", v)
		}
	}
	if err != nil {
		return 0, err
	}
	if n < k.Min || n > k.Max {
		return 0, fmt.Errorf("%s is out of range: %s to %s", v, k.format(k.Min), k.format(k.Max))
	}
	return n, nil
}

// format writes a number in the key's unit.
func (k *Key) format(n int64) string {
	switch k.Kind {
	case Duration:
		return formatDuration(n)
	case Size, Memory:
		return FormatSize(n)
	}
	return strconv.FormatInt(n, 10)
}

// Value returns the key's value in c as a source would spell it.
func (k *Key) Value(c *Config) string {
	switch p := k.field(c).(type) {
	case *int:
		return k.format(int64(*p))
	case *int64:
		return k.format(*p)
	case *time.Duration:
		return k.format(int64(*p))
	case *bool:
		return strconv.FormatBool(*p)
	case *[]string:
		return strings.Join(*p, ",")
	case *string:
		return *p
	}
	return ""
}

const day = int64(24 * time.Hour)

// parseDuration is time.ParseDuration with days, which stand alone ("30d").
func parseDuration(v string) (int64, error) {
	if number, ok := strings.CutSuffix(v, "d"); ok {
		days, err := strconv.ParseInt(number, 10, 64)
		if err == nil && days >= 0 && days <= math.MaxInt64/day {
			return days * day, nil
		}
	} else if d, err := time.ParseDuration(v); err == nil {
		return int64(d), nil
	}
	return 0, fmt.Errorf("%q is no duration: write 150ms, 30s, 5m, 12h or 30d", v)
}

func formatDuration(n int64) string {
	switch {
	case n != 0 && n%day == 0:
		return strconv.FormatInt(n/day, 10) + "d"
	case n%second == 0 && n < 600*second:
		return strconv.FormatInt(n/second, 10) + "s"
	}
	s := time.Duration(n).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1},
}

// ParseSize reads a number of bytes: 4096, 4096B, 64KiB, 1MiB, 4GiB, 1TiB.
func ParseSize(v string) (int64, error) {
	number, unit := v, int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(v, u.suffix); ok {
			number, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is no size: write 4096, 64KiB, 1MiB or 4GiB", v)
	}
	return n * unit, nil
}

// FormatSize writes a number of bytes in the largest unit that divides it.
func FormatSize(n int64) string {
	for _, u := range sizeUnits {
		if n != 0 && n%u.bytes == 0 && u.bytes > 1 {
			return strconv.FormatInt(n/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}
