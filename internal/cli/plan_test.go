package cli

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

var updatePlan = flag.Bool("update", false, "write the examples of docs/plan.md anew")

func TestPlanCommand(t *testing.T) {
	dir := t.TempDir()
	measured, page, faulty, summary := filepath.Join(dir, "a.json"), filepath.Join(dir, "plan.html"), filepath.Join(dir, "b.json"), filepath.Join(dir, "summary.json")
	line := `{"profile":"idle","valid":true,"connections":1000,"bytes_per_connection":500,"machine":{"cpus":2,"version":"abc"},"when":"2026-11-24T00:00:00Z"}`
	for path, text := range map[string]string{measured: line + "\n", faulty: "{}\n", summary: "{\n  \"plan\": \"full\"\n}\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	small := []string{"--users=100K", "--messages=50M/day"}
	for name, c := range map[string]struct {
		args []string
		code int
		want []string // in what is printed, or said
	}{
		"the planet":           {nil, ExitOK, []string{"18.25 PB", "54.75 PB", "gateways_needed", "= ceil(100M ÷ 1M)", "built in"}},
		"the textbook":         {[]string{"--compare=textbook"}, ExitOK, []string{"1,539", "65,000", "gorilla/websocket has 17,932 B"}},
		"measured":             {[]string{"--measured", measured}, ExitOK, []string{"500 B", "bench idle, 1,000 sessions; commit abc, 2026-11-24; " + measured + ":1"}},
		"several files":        {[]string{"--measured", measured, measured}, ExitOK, []string{"median of 2"}},
		"set":                  {[]string{"--set=cpu_use=60%"}, ExitOK, []string{"set: --set, over 50%"}},
		"a scenario":           {append(small, "--simulate", "--scenario=broker"), ExitOK, []string{"broker: a broker dies", "calm again after"}},
		"a page":               {append(small, "--html", page), ExitOK, []string{"wrote " + page}},
		"faults together":      {[]string{"--users=many", "--online=20", "--messages=100B", "--retention=5", "--size=big"}, ExitUsage, []string{"--users", "--online", "--messages", "--retention", "--size"}},
		"out of bounds":        {[]string{"--peak=0", "--users=0"}, ExitUsage, []string{"peak", "users"}},
		"an unknown flag":      {[]string{"--user=5"}, ExitUsage, []string{`did you mean "--users"?`}},
		"an unknown figure":    {[]string{"--set=cpu_us=60%"}, ExitUsage, []string{`did you mean "cpu_use"?`}},
		"an unknown scenario":  {append(small, "--simulate", "--scenario=zones"), ExitUsage, []string{`did you mean "zone"?`}},
		"an unknown fleet":     {[]string{"--compare=textbok"}, ExitUsage, []string{`did you mean "textbook"?`}},
		"a scenario alone":     {[]string{"--scenario=zone"}, ExitUsage, []string{"--scenario is for --simulate"}},
		"an argument":          {[]string{"zone"}, ExitUsage, []string{"takes no arguments"}},
		"a file that is not":   {[]string{"--measured", filepath.Join(dir, "c.json")}, ExitFailed, []string{"c.json"}},
		"a faulty file":        {[]string{"--measured", faulty}, ExitFailed, []string{"names no profile"}},
		"a summary":            {[]string{"--measured", summary}, ExitFailed, []string{"rounds.jsonl"}},
		"a check of one":       {[]string{"--check", measured}, ExitFailed, []string{"two valid lines"}},
		"a check and a plan":   {[]string{"--check", measured, "--simulate"}, ExitUsage, []string{"--check goes alone"}},
		"a page into the dark": {[]string{"--html", filepath.Join(dir, "no", "plan.html")}, ExitFailed, []string{"plan.html"}},
	} {
		code, out, errOut := runCommand(t, nil, append([]string{"plan"}, c.args...)...)
		if code != c.code {
			t.Errorf("%s: exit %d\n%s", name, code, errOut)
		}
		for _, w := range c.want {
			if !strings.Contains(out+errOut, w) {
				t.Errorf("%s: no word of %q\n%s%s", name, w, out, errOut)
			}
		}
	}
	text, err := os.ReadFile(page)
	if err != nil || !strings.Contains(string(text), "A plan of a fleet") || strings.Contains(string(text), "http") {
		t.Errorf("the page: %v\n%.200s", err, text)
	}
}

func TestPlanJSON(t *testing.T) {
	code, out, errOut := runCommand(t, nil, "plan", "--users=100K", "--messages=50M/day", "--simulate", "--scenario=gateway", "--seed=3", "--json")
	var got planOutput
	if err := json.Unmarshal([]byte(out), &got); code != ExitOK || err != nil {
		t.Fatalf("exit %d, %v: %s", code, err, errOut)
	}
	if len(got.Plan.Rows) == 0 || got.Plan.Rows[0].Formula == "" || len(got.Outcomes) != 1 || got.Outcomes[0].Lost == 0 {
		t.Errorf("%+v", got.Plan)
	}
	_, again, _ := runCommand(t, nil, "plan", "--users=100K", "--messages=50M/day", "--simulate", "--scenario=gateway", "--seed=3", "--json")
	if again != out {
		t.Error("the same seed prints something else")
	}
}

// planExamples are commands whose output docs/plan.md shows.
var planExamples = []string{
	"plan --compare textbook",
	"plan --simulate --scenario gateway",
	"plan --simulate --scenario zone",
	"plan --simulate --scenario broker",
	"plan --simulate --scenario upgrade",
	"plan --simulate --scenario newyear --set newyear_minutes=2",
	"plan --simulate --scenario newyear --peak 5 --set newyear_minutes=2",
	"plan --check internal/plan/testdata/measured.jsonl",
}

// TestPlanDocument holds the examples of docs/plan.md to what the commands
// print in the repository's folder. They stand between marks that name the
// command.
func TestPlanDocument(t *testing.T) {
	t.Chdir("../..")
	const path = "docs/plan.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fresh := string(text)
	for _, example := range planExamples {
		if runtime.GOARCH != "amd64" && (strings.Contains(example, "--simulate") || strings.Contains(example, "--check")) {
			continue // other processors fuse multiplications with additions, and so draw other numbers
		}
		begin, end := "<!-- output of rookery "+example+" -->\n", "<!-- end of output -->"
		before, rest, ok := strings.Cut(fresh, begin)
		_, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Errorf("docs/plan.md has no marks of %q", example)
			continue
		}
		code, out, errOut := runCommand(t, nil, strings.Fields(example)...)
		if code != ExitOK {
			t.Errorf("%s: exit %d: %s", example, code, errOut)
		}
		fresh = before + begin + "```\n$ rookery " + example + "\n" + out + "```\n" + end + after
	}
	if fresh == string(text) || t.Failed() {
		return
	}
	if !*updatePlan {
		t.Fatal("the examples are not what the commands print; run: go test ./internal/cli -run PlanDocument -update")
	}
	if err := os.WriteFile(path, []byte(fresh), 0o644); err != nil {
		t.Fatal(err)
	}
}
