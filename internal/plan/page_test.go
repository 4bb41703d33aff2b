package plan

import (
	"strings"
	"testing"
)

// TestPageIsWhole: one page, with every line, formula and source, that asks
// nobody for anything.
func TestPageIsWhole(t *testing.T) {
	p := newPlan(t, town(), "gateway_sessions=20K")
	p.CompareTextbook()
	outcomes := []*Outcome{simulate(t, town(), "gateway", 1, "gateway_sessions=20K")}
	outcomes[0].What = "<script>alert(1)</script>"
	var b strings.Builder
	if err := p.WritePage(&b, outcomes); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, r := range p.Rows {
		if !strings.Contains(text, r.Name) || !strings.Contains(text, r.Show()) {
			t.Errorf("the page has no word of %s = %s", r.Name, r.Show())
		}
	}
	for _, want := range []string{"Beside the textbook", "<svg", "polyline class=\"p99\"", "</html>", "built in"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	for _, no := range []string{"http:", "https:", "src=", "<link", "<script", "NaN", "Inf", "{{"} {
		if strings.Contains(text, no) {
			t.Errorf("the page has %q", no)
		}
	}
	if len(p.tiles()) != 10 {
		t.Errorf("%d figures stand first", len(p.tiles()))
	}
}
