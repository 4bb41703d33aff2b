package cli

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Version describes the build: the module's version or the commit, and "+dirty"
// when the tree was changed. It is "devel" where the build recorded nothing.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	return versionOf(info)
}

func versionOf(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	if revision == "" {
		return "devel"
	}
	return revision[:min(12, len(revision))] + dirty
}

func cmdVersion(_ context.Context, env *Env, _ []string) int {
	fmt.Fprintf(env.Stdout, "rookery %s %s %s/%s\n", Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return ExitOK
}
