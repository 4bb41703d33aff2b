package cli

import "context"

// cmdTail is a place-holder until the command lands.
func cmdTail(_ context.Context, env *Env, _ []string) int {
	env.Errorf("tail is not in this build")
	return ExitFailed
}
