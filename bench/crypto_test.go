package bench

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCrypto(t *testing.T) {
	r, err := Run(t.Context(), Options{Profile: "crypto", Duration: time.Millisecond, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Crypto) != len(cryptoSteps) || len(r.Warnings) != 1 { // there is no Node part in this folder
		t.Fatalf("%d figures, %q", len(r.Crypto), r.Warnings)
	}
	for _, f := range r.Crypto {
		if f.CPUUs <= 0 || f.Spread.Min > f.CPUUs || f.Spread.Max < f.CPUUs || f.OfGo != nil {
			t.Errorf("%+v", f)
		}
	}
}

// A process in Node's place: figures of both sides, and ratios; and one that
// leaves a step out is refused.
func TestCryptoBesideAnother(t *testing.T) {
	dir, bin := t.TempDir(), t.TempDir()
	put := func(path, text string, mode os.FileMode) {
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	var costs []string
	for _, s := range cryptoSteps {
		costs = append(costs, `"`+s.name+`":1e6`)
	}
	put(filepath.Join(dir, "round.js"), "// what node would run", 0o600)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	other := func(costs []string) (*Result, error) {
		put(filepath.Join(bin, "node"), "#!/bin/sh\nwhile read -r line; do echo '{"+strings.Join(costs, ",")+"}'; done\n", 0o700)
		return Run(t.Context(), Options{Profile: "crypto", Duration: time.Millisecond, Dir: t.TempDir(), SDK: dir})
	}
	r, err := other(costs)
	if err != nil {
		t.Fatal(err)
	}
	node := slices.DeleteFunc(slices.Clone(r.Crypto), func(f CryptoFigures) bool { return f.SDK != "node" })
	if len(node) != len(cryptoSteps) || len(r.Warnings) > 0 {
		t.Fatalf("%+v, %q", node, r.Warnings)
	}
	for _, f := range node {
		if f.CPUUs != 1e6 || f.OfGo == nil || f.OfGo.Median <= 1 {
			t.Errorf("%+v", f)
		}
	}
	if _, err := other(costs[1:]); err == nil || !strings.Contains(err.Error(), cryptoSteps[0].name) {
		t.Errorf("a step was left out: %v", err)
	}
	if _, err := Run(t.Context(), Options{Profile: "crypto", SDK: t.TempDir(), Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "scripts/js.sh rounds") {
		t.Errorf("a folder without it: %v", err)
	}
}
