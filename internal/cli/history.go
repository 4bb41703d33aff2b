package cli

import "context"

// cmdHistory is a place-holder until the command lands.
func cmdHistory(_ context.Context, env *Env, _ []string) int {
	env.Errorf("history is not in this build")
	return ExitFailed
}
