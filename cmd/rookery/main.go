// Command rookery is the server, its clients and its tools; 'rookery help'
// lists them.
package main

import (
	"context"
	"os"

	"github.com/rookery-chat/rookery/internal/cli"
)

func main() {
	env := &cli.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Environ: os.Environ}
	os.Exit(cli.Main(context.Background(), env, os.Args[1:]))
}
