package cli

import "context"

// cmdDoctor is a place-holder until the command lands.
func cmdDoctor(_ context.Context, env *Env, _ []string) int {
	env.Errorf("doctor is not in this build")
	return ExitFailed
}
