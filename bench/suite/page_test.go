package suite

import (
	"html/template"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/rookery-chat/rookery/bench"
)

// aRun is a folder with a round of an echo and one of a load.
func aRun(t *testing.T) string {
	t.Helper()
	f, err := open(filepath.Join(t.TempDir(), "run"), "full", "v1")
	if err != nil {
		t.Fatal(err)
	}
	load := &bench.Result{Profile: "trickle", When: time.Date(2026, 11, 28, 1, 0, 0, 0, time.UTC), DeliveredPS: 5000, Noisy: []string{"</script><b>loud"}}
	h := hdrhistogram.New(1, 1_000_000, 3)
	for us := range int64(1000) {
		h.RecordValue(us + 1)
	}
	if err := load.KeepHistogram("delivery", h); err != nil {
		t.Fatal(err)
	}
	for _, r := range []Round{echoRound("echo/barec/plain", 1, 100), echoRound(ours, 1, 90), {Step: "trickle@5000", Round: 1, Attempt: 1, Result: load}} {
		if err := f.add(r); err != nil {
			t.Fatal(err)
		}
	}
	return f.dir
}

func TestThePageNeedsNothingElse(t *testing.T) {
	settings, err := os.ReadFile("../peers/README.md")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := WritePage(&b, aRun(t), string(settings)); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	// Names of the two languages of markup are no requests.
	plain := strings.NewReplacer("http://www.w3.org/1999/xhtml", "", "http://www.w3.org/2000/svg", "").Replace(page)
	if m := regexp.MustCompile(`(?i)\b(src|href)\s*=|@import|url\(|fetch\(|https?:`).FindAllString(plain, -1); len(m) > 0 {
		t.Errorf("the page asks for %q", m)
	}
	if strings.Contains(page, "<b>loud") {
		t.Error("a text of the run is markup in the page")
	}
	for _, want := range []string{"its defaults: own server", "at least 0.95", "0.90", "not measured in this run"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no word of %q", want)
		}
	}
}

// sample is a small run whose figures are made up.
const sample = "testdata/run"

// TestThePageHasHowFiguresWent holds that of each step its last round that counts
// is there, and no other.
func TestThePageHasHowFiguresWent(t *testing.T) {
	var b strings.Builder
	if err := WritePage(&b, sample, ""); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"step":"trickle@5000","round":2,"name":"stored","unit":"/s","step_s":1,"values":[`, `{"step":"firehose@1160000","round":2,"name":"resident","unit":"MB"`,
		`{"step":"reconnect","round":2,"name":"sessions back","unit":"","step_s":0.5,"values":[0,2100,6800,11200,14100,14800,15000]}`,
	} {
		if strings.Count(b.String(), want) != 1 {
			t.Errorf("the page has %d of %s", strings.Count(b.String(), want), want)
		}
	}
	if strings.Contains(b.String(), `"round":1,"name"`) {
		t.Error("the page has the lines of a round that a later one followed")
	}
}

func TestThePageSaysWhatStepsWereMeasuredWith(t *testing.T) {
	f, err := read(sample)
	if err != nil {
		t.Fatal(err)
	}
	newest := f.newest()
	for _, r := range newest {
		r.Rise = r.Step == "trickle@5000"
	}
	rows, common := settingsOf(newest)
	if want := []string{"--engine-accept-per-second=0", "--session-rate-messages=1000000"}; !slices.Equal(common, want) {
		t.Errorf("most servers have %v", common)
	}
	for _, want := range [][]string{
		{"echo, each server", "1,000", "1, 16 and 64 in flight", "–", "100", "–", "–", "–", "3", "–", "–"},
		{"trickle@5000/1000", "1,000", "5,000", "1", "100", "5 ms", "–", "everybody", "20", "1", ""},
		{"trickle@5000", "10,000", "5,000, rising in the warm-up", "1", "100", "5 ms", "–", "everybody", "20", "1", ""},
		{"firehose@1160000", "10,000", "1,160,000", "64", "100", "5 ms", "–", "everybody", "20", "1", "--session-window=100000"},
		{"reconnect", "15,000", "–", "–", "–", "–", "–", "–", "–", "1", "only --engine-accept-per-second=0"},
	} {
		if n := len(slices.DeleteFunc(slices.Clone(rows), func(row []string) bool { return !slices.Equal(row, want) })); n != 1 {
			t.Errorf("%d rows are %q: %q", n, want, rows)
		}
	}
}

func TestThePageSaysWhatLimitsATargetThatWasMissed(t *testing.T) {
	s, err := Load(sample)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := WritePage(&b, sample, ""); err != nil {
		t.Fatal(err)
	}
	for i := range s.Targets {
		r := &s.Targets[i]
		cell := template.HTMLEscapeString(r.What) + `<br><span class="dim">` + template.HTMLEscapeString(r.why) + " (docs/performance.md#" + r.anchor
		if got := strings.Contains(b.String(), cell); got != (r.class() == "missed") {
			t.Errorf("%s: %s: what limits it is there: %v", r.What, r.verdict(), got)
		}
	}
	if strings.Contains(Block(s), "docs/performance.md") {
		t.Error("documents have it too")
	}
}

func TestCurvesAreOfAllRounds(t *testing.T) {
	f, err := read(aRun(t))
	if err != nil {
		t.Fatal(err)
	}
	curves, err := f.curves()
	if err != nil || len(curves) != 1 || curves[0].Step != "trickle@5000" {
		t.Fatalf("%+v: %v", curves, err)
	}
	if curves[0].Bad != 1 {
		t.Errorf("%d bad rounds", curves[0].Bad)
	}
	points := curves[0].Points
	if last := points[len(points)-1]; last[0] != 3 || last[1] < 0.998 || last[1] > 1.001 {
		t.Errorf("the rarest of a thousand: %v", last)
	}
	if at := points[10]; at[0] != 1 || at[1] < 0.899 || at[1] > 0.902 {
		t.Errorf("p90: %v", at)
	}
}

func TestFiguresOfDocumentsAreReplaced(t *testing.T) {
	s, err := Load(aRun(t))
	if err != nil {
		t.Fatal(err)
	}
	was := "before\n" + blockBegin + "\nold\n" + blockEnd + "\nafter\n"
	now, err := ReplaceBlock(was, s)
	if err != nil || strings.Contains(now, "old") || !strings.HasPrefix(now, "before\n") || !strings.HasSuffix(now, "\nafter\n") || !strings.Contains(now, s.Finished.Format("2 January 2006")) {
		t.Fatalf("%v: %s", err, now)
	}
	if again, err := ReplaceBlock(now, s); err != nil || again != now {
		t.Errorf("written twice it is another: %v", err)
	}
	for _, bad := range []string{"nothing", blockBegin, blockEnd + blockBegin, was + was} {
		if _, err := ReplaceBlock(bad, s); err == nil {
			t.Errorf("figures were put into %q", bad)
		}
	}
	// A million has a place of its own, and leaves the other as it is.
	both := now + blockBeginMillion + "\nold\n" + blockEnd + "\n"
	s.Plan = planMillion
	if got, err := ReplaceBlock(both, s); err != nil || !strings.HasPrefix(got, now) || strings.Contains(got, "old") || !strings.Contains(got, "million run of") {
		t.Errorf("%v: %s", err, got)
	}
	s.Plan = "full"
	if got, err := ReplaceBlock(both, s); err != nil || got != both {
		t.Errorf("%v: %s", err, got)
	}
}

// TestTheDocumentsFiguresSayOfWhatTheyAre holds the figures that stand in the
// documents to name their date, commit and machine.
func TestTheDocumentsFiguresSayOfWhatTheyAre(t *testing.T) {
	origin := regexp.MustCompile(`(full|quick|million) run of \d+ \w+ \d{4}, \d+ rounds; commit [0-9a-f]{12}.*, go\S+; \d+ processors, .+, \d+ GiB, Linux \S+`)
	for _, path := range []string{"../../README.md", "../../docs/performance.md"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, begin := range []string{blockBegin, blockBeginMillion} {
			_, rest, begun := strings.Cut(string(text), begin)
			block, _, ended := strings.Cut(rest, blockEnd)
			if begun && ended && strings.TrimSpace(block) == blockEmpty {
				continue // before the first run
			}
			if !begun || !ended || !origin.MatchString(block) || !strings.Contains(block, "| what | target |") {
				t.Errorf("%s has no figures that say of what they are: %q", path, block)
			}
		}
	}
}
