// Package web holds the files of the chat page, which the web listener serves
// (internal/web). They are part of the binary. page.js and worker.js are bundles
// of src, made by build.js and committed, so that a plain `go build` needs no
// Node; crypto, the compiled encryption, is made by crypto.sh in `make build`
// and not committed, and a binary without it says so on its page.
package web

import (
	"embed"
	"io/fs"
)

//go:embed static
var files embed.FS

// Files returns the page's files, index.html at the root. They can be sought in.
func Files() fs.FS {
	root, err := fs.Sub(files, "static")
	if err != nil {
		panic(err) // static is no valid path
	}
	return root
}
