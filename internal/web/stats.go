package web

import (
	"net"
	"net/http"
	"sync/atomic"
)

// area is a part of the listener, as its metrics name it.
type area int

const (
	areaPage  area = iota
	areaToken      // tokens of the development key
	areaMedia      // blobs of the embedded folder
	areaAPI
	areas
)

// AreaNames are the areas, by their numbers.
var AreaNames = [areas]string{"page", "token", "media", "api"}

// Stats count since the start.
type Stats struct {
	Connections atomic.Int64         // open now
	Requests    [areas]atomic.Uint64 // by area
	Responses   [6]atomic.Uint64     // by the first digit of the status
	WrongHost   atomic.Uint64        // requests that named another server
}

// connection follows the states of connections.
func (s *Stats) connection(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.Connections.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.Connections.Add(-1)
	}
}

// statusWriter counts the status that is written through it.
type statusWriter struct {
	http.ResponseWriter
	stats *Stats
	done  bool
}

// Unwrap is how http.ResponseController finds what is below.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) WriteHeader(status int) {
	if !w.done && status >= 200 {
		w.done = true
		w.stats.Responses[min(status/100, 5)].Add(1)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if !w.done {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}
