package cli

import "context"

// cmdEcho is a place-holder until the command lands.
func cmdEcho(_ context.Context, env *Env, _ []string) int {
	env.Errorf("echo is not in this build")
	return ExitFailed
}
