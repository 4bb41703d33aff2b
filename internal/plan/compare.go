package plan

// Textbook is the fleet that textbooks have for this load: a thread or goroutine
// a socket, as many sockets as a port number has values.
const (
	textbookSockets = 65_000
	textbookBytes   = 18_000
	textbookSource  = "18,000 B resident: gorilla/websocket has 17,932 B, others 11,227 to 24,271 B (docs/performance.md, The event loop)"
)

// Compare is a fleet of chat servers beside ours. Both without headroom.
type Compare struct {
	Servers         float64 `json:"servers"`
	SocketsPerHost  float64 `json:"sockets_per_server"`
	BytesPerSession float64 `json:"bytes_per_session"`
	Memory          float64 `json:"memory_bytes"`

	OurServers         float64 `json:"our_servers"`
	OurSocketsPerHost  float64 `json:"our_sockets_per_server"`
	OurBytesPerSession float64 `json:"our_bytes_per_session"`
	OurMemory          float64 `json:"our_memory_bytes"`
}

// CompareTextbook sets the textbook's fleet beside this one.
func (p *Plan) CompareTextbook() {
	online := p.Get("online")
	servers, _ := evaluate("max(1, ceil(online / 65000))", p.all.lookUp)
	perSession := textbookBytes + p.Get("kernel_bytes_per_socket")
	p.Textbook = &Compare{
		Servers: servers, SocketsPerHost: textbookSockets, BytesPerSession: perSession, Memory: online * perSession,
		OurServers: p.Get("gateways_needed"), OurSocketsPerHost: online / p.Get("gateways_needed"),
		OurBytesPerSession: p.Get("session_bytes"), OurMemory: online * p.Get("session_bytes"),
	}
}
