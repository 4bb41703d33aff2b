package plan

import (
	"slices"
	"testing"
)

func TestEvaluate(t *testing.T) {
	value := func(name string) (float64, bool) {
		v, ok := map[string]float64{"a": 6, "b": 4}[name]
		return v, ok
	}
	for formula, want := range map[string]float64{
		"a + b * 2": 14, "(a + b) * 2": 20, "a / b": 1.5, "a - b": 2, "ceil(a / b)": 2, "floor(a / b)": 1, "max(a, b, 9)": 9, "min(a, b)": 4,
		"ceil(3.0000000000001)": 3, "floor(2.9999999999999)": 3,
	} {
		if got, err := evaluate(formula, value); err != nil || got != want {
			t.Errorf("%s is %v, %v, not %v", formula, got, err, want)
		}
	}
	for _, formula := range []string{"", "c", "a +", "a % b", "sqrt(a)", "a / 0", "ceil()", "a.b(1)", `"x"`, "func() {}"} {
		if got, err := evaluate(formula, value); err == nil {
			t.Errorf("%s is %v", formula, got)
		}
	}
	if got := names("max(a, b_1) + a * ceil(c)"); !slices.Equal(got, []string{"a", "b_1", "c"}) {
		t.Errorf("names are %q", got)
	}
	if got := withNumbers("ceil(a * b) / a", func(n string) string { return "<" + n + ">" }); got != "ceil(<a> × <b>) ÷ <a>" {
		t.Errorf("with numbers: %s", got)
	}
}
