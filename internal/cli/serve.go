package cli

import "context"

// cmdServe is a place-holder until the command lands.
func cmdServe(_ context.Context, env *Env, _ []string) int {
	env.Errorf("serve is not in this build")
	return ExitFailed
}
