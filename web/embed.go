// Package web holds the files of the chat page, which the web listener serves
// (internal/web). They are part of the binary.
package web

import (
	"embed"
	"io/fs"
)

//go:embed static
var files embed.FS

// Files returns the page's files, index.html at the root.
func Files() fs.FS {
	root, err := fs.Sub(files, "static")
	if err != nil {
		panic(err) // static is no valid path
	}
	return root
}
