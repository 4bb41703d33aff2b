// Package lint holds the law of the tree: who may import whom, which folder
// has which driver, how long a file may be. It is a test that reads the files
// themselves, so that it cannot pass from a cache after the law was broken.
package lint
