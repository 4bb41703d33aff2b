// Package peer is what every peer written in Go does the same way: its flags,
// its listener, and how it tells who started it that it is ready.
package peer

import (
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
)

// TwoProcs is a variant of every peer: its best settings with two scheduler
// slots on its one processor, so that what is ready goes on while a system call
// is under way.
const TwoProcs = "procs2"

// Peer is one of them, started.
type Peer struct {
	Variant string // the settings, one of those named at Start
	listen  string
}

// Start reads the flags. The variants are the settings that there are to choose
// from, the best first: that one is taken when none is asked for.
func Start(variants ...string) *Peer {
	listen := flag.String("listen", "127.0.0.1:0", "host:port; port 0 takes a free one")
	variant := flag.String("variant", variants[0], "settings")
	list := flag.Bool("variants", false, "print the variants, one a line, and end")
	flag.Parse()
	all := append(slices.Clone(variants), TwoProcs)
	if *list {
		fmt.Println(strings.Join(all, "\n"))
		os.Exit(0)
	}
	if !slices.Contains(all, *variant) {
		fmt.Fprintf(os.Stderr, "no variant %s: %s\n", *variant, strings.Join(all, ", "))
		os.Exit(2)
	}
	p := &Peer{Variant: *variant, listen: *listen}
	if p.Variant == TwoProcs {
		runtime.GOMAXPROCS(2)
		p.Variant = variants[0]
	}
	return p
}

// Listen opens the peer's listener and says so.
func (p *Peer) Listen() net.Listener {
	ln, err := net.Listen("tcp", p.listen)
	Check(err)
	p.Ready(ln.Addr().String())
	return ln
}

// Address is where a library listens that insists on doing so itself: a free
// port, if none was given.
func (p *Peer) Address() string {
	ln, err := net.Listen("tcp", p.listen)
	Check(err)
	defer ln.Close()
	return ln.Addr().String()
}

// Speaks says that the connections carry something else than WebSocket
// messages that come back as they are.
func (p *Peer) Speaks(what string) { fmt.Println("speaks", what) }

// Ready says that the peer listens.
func (p *Peer) Ready(address string) { fmt.Println("listening", address) }

// Check ends the process when there is an error.
func Check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
