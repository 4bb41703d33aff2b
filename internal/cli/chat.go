package cli

import "context"

// cmdChat is a place-holder until the command lands.
func cmdChat(_ context.Context, env *Env, _ []string) int {
	env.Errorf("chat is not in this build")
	return ExitFailed
}
