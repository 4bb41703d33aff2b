package cli

import "context"

// cmdBench is a place-holder until the command lands.
func cmdBench(_ context.Context, env *Env, _ []string) int {
	env.Errorf("bench is not in this build")
	return ExitFailed
}
