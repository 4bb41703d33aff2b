package cli

import "context"

// cmdChats is a place-holder until the command lands.
func cmdChats(_ context.Context, env *Env, _ []string) int {
	env.Errorf("chats is not in this build")
	return ExitFailed
}
