package cli

import "context"

// cmdConfig is a place-holder until the command lands.
func cmdConfig(_ context.Context, env *Env, _ []string) int {
	env.Errorf("config is not in this build")
	return ExitFailed
}
