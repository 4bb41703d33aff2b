package cli

import (
	"strings"
	"testing"
)

// What is of one profile is not dropped where none is named, nor the other way
// round. (No step begins with xyzzy, and no profile is
// named tricle: nothing is measured, whatever happens.)
func TestBenchFlagsThatDoNotFit(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--only=xyzzy --rate=5 --server-flag=--engine-loops=1", "rookery: --rate, --server-flag: for one profile, and none is named: say `rookery bench trickle --rate"},
		{"--only=xyzzy --quick --connections=3", "--connections: for one profile"},
		{"--only=xyzzy --server-listen=127.0.0.2", "--server-listen: for one profile"},
		{"--only=xyzzy --quick", "no step begins"},
		{"--only=xyzzy --cluster=x", "no step begins"},
		{"--only=xyzzy --quick --million", "say one of them"},
		{"--only=xyzzy --quick --cluster=x", "say one of them"},
		{"--only=xyzzy --million --cluster=x", "say one of them"},
		{"--million tricle", "without a profile"},
		{"--only=xyzzy tricle", "--run and --only are of everything"},
		{"--run=x tricle", "--run and --only are of everything"},
	} {
		code, out, errOut := runCommand(t, nil, append([]string{"bench"}, strings.Fields(c.args)...)...)
		if code != ExitUsage || out != "" || !strings.Contains(errOut, c.want) {
			t.Errorf("%s: exit %d, %q, want %q", c.args, code, errOut, c.want)
		}
	}
}
