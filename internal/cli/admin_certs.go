package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/internal/certs"
)

// adminCerts makes a certificate for a process, and the CA before the first.
func adminCerts(_ context.Context, env *Env, args []string) int {
	var r certs.Request
	fs := pflag.NewFlagSet("admin certs", pflag.ContinueOnError)
	fs.StringVar(&r.Dir, "dir", "", "folder of the CA and of the certificates; made when it is not there")
	fs.StringVar(&r.Name, "name", "", "name of the process, and of its two files")
	fs.StringSliceVar(&r.Hosts, "host", nil, "further DNS name or IP address of the process; may be given several times")
	fs.BoolVar(&r.Force, "force", false, "overwrite this name's certificate and key; the CA is never overwritten")
	if code, ok := parseFlags(env, fs, "rookery admin certs --dir DIR --name NAME [flags]", args); !ok {
		return code
	}
	if r.Dir == "" || r.Name == "" || fs.NArg() > 0 {
		env.Errorf("usage: rookery admin certs --dir DIR --name NAME [--host HOST]... [--force]")
		return ExitUsage
	}
	made, err := certs.Make(r)
	if err != nil {
		env.Errorf("admin certs: %v", err)
		return ExitFailed
	}
	if made.CAMade {
		fmt.Fprintf(env.Stdout, "made  %s  the CA, until %s; its key signs for every process: keep ca.key from all of them\n",
			made.Files.CA, made.CAEnds.Format(time.DateOnly))
	} else {
		fmt.Fprintf(env.Stdout, "kept  %s  the CA, until %s\n", made.Files.CA, made.CAEnds.Format(time.DateOnly))
	}
	ends := made.Ends.Format(time.DateOnly)
	fmt.Fprintf(env.Stdout, "made  %s  certificate of %s for server and client use, until %s\n", made.Files.Cert, r.Name, ends)
	fmt.Fprintf(env.Stdout, "made  %s  its key\n", made.Files.Key)
	fmt.Fprintf(env.Stdout, "\nThese are for a start. A real deployment brings certificates of its own CA, and renews them; running processes read changed files.\n")
	return ExitOK
}
