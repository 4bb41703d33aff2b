package suite

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// settingsHead are the columns of the table of steps.
var settingsHead = []string{"step", "connections", "offered, msg/s", "messages a write", "content, bytes", "a mark every", "the load looks every", "writes to", "counted, s", "load processes", "flags of the server"}

// settingsOf is a table of steps with what they were measured with, and the
// flags that most of the servers have, which it leaves out. The echoes, which
// have theirs in the table of peers, are one row.
func settingsOf(newest []*Round) (rows [][]string, common []string) {
	common = commonFlags(newest)
	rows = [][]string{settingsHead}
	echo := false
	for _, r := range newest {
		if r.Profile == "echo" {
			if !echo && len(r.Echo) > 0 {
				e := &r.Echo[0]
				rows = append(rows, []string{"echo, each server", number(e.Connections), "1, 16 and 64 in flight", "–", number(e.SizeBytes), "–", "–", "–", seconds(e.Seconds), "–", "–"})
			}
			echo = true
			continue
		}
		to := number(r.Contacts)
		if r.Rate > 0 && r.Contacts == 0 {
			to = "everybody"
		}
		offered := number(int(r.Rate))
		if r.Rise {
			offered += ", rising in the warm-up"
		}
		rows = append(rows, []string{
			r.Step, number(r.Connections), offered, number(r.PerWrite), number(r.SizeBytes), milliseconds(r.MarkEveryMs), milliseconds(r.LookEveryMs),
			to, seconds(r.Seconds), number(r.LoadProcesses), ownFlags(r.ServerFlags, common),
		})
	}
	return rows, common
}

// commonFlags are those that more than half of the steps have whose server has any.
func commonFlags(rounds []*Round) (common []string) {
	times, servers := map[string]int{}, 0
	for _, r := range rounds {
		if len(r.ServerFlags) > 0 {
			servers++
		}
		for _, flag := range r.ServerFlags {
			times[flag]++
		}
	}
	for flag, n := range times {
		if 2*n > servers {
			common = append(common, flag)
		}
	}
	slices.Sort(common)
	return common
}

// ownFlags are a server's beside the common ones, or all where it lacks one of
// these.
func ownFlags(flags, common []string) string {
	if len(flags) == 0 {
		return "–"
	}
	own := slices.DeleteFunc(slices.Clone(flags), func(flag string) bool { return slices.Contains(common, flag) })
	if len(own)+len(common) > len(flags) {
		return "only " + strings.Join(flags, " ")
	}
	return strings.Join(own, " ")
}

func number(n int) string {
	if n == 0 {
		return "–"
	}
	if n >= 1000 {
		return digits(float64(n))
	}
	return strconv.Itoa(n)
}

func seconds(s float64) string {
	if s == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f", s)
}

func milliseconds(ms float64) string {
	if ms == 0 {
		return "–"
	}
	return fmt.Sprintf("%g ms", ms)
}
