package plan

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// WriteText writes the plan for a terminal: each line with its formula and the
// numbers put in, then what the numbers come from.
func (p *Plan) WriteText(w io.Writer) error {
	fmt.Fprintln(w, p.loadText())
	group := ""
	for _, r := range p.Rows {
		if r.Group != group {
			group = r.Group
			fmt.Fprintf(w, "\n%s\n", group)
		}
		fmt.Fprintf(w, "  %-27s %14s  %s\n  %43s  = %s\n  %43s  = %s\n", r.Name, r.Show(), r.What, "", r.Formula, "", r.Numbers)
	}
	fmt.Fprintf(w, "\nwhat costs most\n")
	for _, c := range p.Costs {
		fmt.Fprintf(w, "  %-27s %14s  %s a month\n", c.What, Format(c.Share, UnitShare), Format(c.Price, UnitPrice))
	}
	if t := p.Textbook; t != nil {
		fmt.Fprintf(w, "\nbeside the textbook, without headroom\n")
		tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, r := range t.rows() {
			fmt.Fprintf(tab, "  %s\t%s\t%s\n", r[0], r[1], r[2])
		}
		tab.Flush()
	}
	fmt.Fprintf(w, "\nwhere the numbers come from; --set name=value changes one\n")
	for _, v := range p.Inputs {
		fmt.Fprintf(w, "  %-27s %14s  %s\n  %43s  %s: %s\n", v.Name, v.Show(), v.What, "", v.Kind, v.Source)
	}
	for _, s := range p.Warnings {
		fmt.Fprintf(w, "\nnote: %s\n", s)
	}
	return nil
}

// loadText is what the fleet is for, in a line.
func (p *Plan) loadText() string {
	l := p.Load
	return fmt.Sprintf("%s users, %s online, messages %s of %s, kept %s, %s copies, peak %s",
		Format(l.Users, UnitCount), Format(l.Online, UnitShare), Format(l.MessagesPerDay, UnitPerDay), Format(l.SizeBytes, UnitBytes), Format(l.RetentionDays, UnitDays), digits(l.Replication), Format(l.Peak, UnitFactor))
}

// rows are the comparison as a table, its head first.
func (t *Compare) rows() [][3]string {
	return [][3]string{
		{"", "this plan", "a goroutine or thread a socket"},
		{"chat servers", digits(t.OurServers), digits(t.Servers)},
		{"sockets on each", digits(t.OurSocketsPerHost), digits(t.SocketsPerHost)},
		{"memory of a session", Format(t.OurBytesPerSession, UnitBytes), Format(t.BytesPerSession, UnitBytes)},
		{"  which is", "session_bytes", textbookSource + ", and kernel_bytes_per_socket"},
		{"memory of all sessions", Format(t.OurMemory, UnitBytes), Format(t.Memory, UnitBytes)},
	}
}
