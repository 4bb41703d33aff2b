package suite

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// progress shows how far a run is: one line that changes on a terminal, and a
// line a round elsewhere. What a profile says on its way is shown on a terminal.
type progress struct {
	out      io.Writer
	terminal bool
	plan     *Plan
	head     string
}

const (
	barWidth  = 24
	lineWidth = 118
)

func (p *progress) begin(f *folder) {
	left, d := p.plan.left(f.rounds)
	fmt.Fprintf(p.out, "%s: %d of %d rounds of %d steps are done, about %v left; the machine should be quiet\n",
		f.dir, p.plan.rounds()-left, p.plan.rounds(), len(p.plan.Steps), roundTime(d))
	if f.head.Machine.Dirty {
		fmt.Fprintf(p.out, "the program was built from a tree with changes that %s does not have\n", f.head.Machine.Version)
	}
}

func (p *progress) start(j job, done []Round) {
	left, d := p.plan.left(done)
	all := max(p.plan.rounds(), 1)
	full := barWidth * (all - left) / all
	again := ""
	if j.attempt > 1 {
		again = " again"
	}
	p.head = fmt.Sprintf("[%s%s] %3d %% %v left, %s round %d%s", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), 100*(all-left)/all,
		roundTime(d), j.step.Name, j.round, again)
	if p.terminal {
		p.show("")
	} else {
		fmt.Fprintln(p.out, p.head)
	}
}

// Write takes what a profile says.
func (p *progress) Write(b []byte) (int, error) {
	if p.terminal {
		p.show(": " + strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

func (p *progress) show(what string) {
	line := p.head + what
	if n := utf8.RuneCountInString(line); n > lineWidth {
		line = string([]rune(line)[:lineWidth])
	}
	fmt.Fprintf(p.out, "\r\x1b[K%s", line)
}

// done says what was bad of a round.
func (p *progress) done(r *Round) {
	why := r.bad()
	if len(why) == 0 {
		return
	}
	if p.terminal {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
	fmt.Fprintf(p.out, "  %s round %d is not good: %s\n", r.Step, r.Round, strings.Join(why, "; "))
}

func (p *progress) end() {
	if p.terminal {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

func roundTime(d time.Duration) time.Duration {
	if d > 10*time.Minute {
		return d.Round(time.Minute)
	}
	return d.Round(time.Second)
}
