package cli

import "context"

// cmdSend is a place-holder until the command lands.
func cmdSend(_ context.Context, env *Env, _ []string) int {
	env.Errorf("send is not in this build")
	return ExitFailed
}
