package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/internal/doctor"
)

// cmdDoctor takes the flags of serve, so that it looks at what serve would use.
func cmdDoctor(_ context.Context, env *Env, args []string) int {
	asJSON := false
	c, code, ok := loadConfig(env, "doctor", args, func(fs *pflag.FlagSet) {
		fs.BoolVar(&asJSON, "json", false, "print one JSON object a line")
	})
	if !ok {
		return code
	}
	findings := doctor.Examine(c)
	if asJSON {
		e := json.NewEncoder(env.Stdout)
		for _, f := range findings {
			e.Encode(f)
		}
	} else {
		printFindings(env, findings)
	}
	if doctor.Worst(findings) == doctor.Fail {
		return ExitDoctor
	}
	return ExitOK
}

func printFindings(env *Env, findings []doctor.Finding) {
	width := 0
	for _, f := range findings {
		width = max(width, len(f.Name))
	}
	counts := map[doctor.Status]int{}
	for _, f := range findings {
		counts[f.Status]++
		fmt.Fprintf(env.Stdout, "%-4s  %-*s  %s\n", f.Status, width, f.Name, f.Found)
		if f.Do != "" {
			fmt.Fprintf(env.Stdout, "      %s  → %s\n", strings.Repeat(" ", width), f.Do)
		}
	}
	fmt.Fprintf(env.Stdout, "\n%d ok, %d warnings, %d failures\n", counts[doctor.OK], counts[doctor.Warn], counts[doctor.Fail])
}
