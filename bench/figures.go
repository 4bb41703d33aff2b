package bench

// MemoryFigures are what idle sessions take, by where it lies. What the kernel
// has is of both ends where the load is on the server's machine.
type MemoryFigures struct {
	UserBytes        float64 `json:"user_bytes"`         // resident, a session
	HeapBytes        float64 `json:"heap_bytes"`         // of the server's heap in use, a session
	SlabBytes        float64 `json:"kernel_slab_bytes"`  // the kernel's objects, a session
	SocketPagesBytes float64 `json:"kernel_tcp_bytes"`   // pages of TCP buffers, a session
	KernelBothEnds   bool    `json:"kernel_both_ends"`   // the load's sockets are in the kernel's figures too
	Sockets          int     `json:"sockets_in_use"`     // as the kernel counts them, above those before
	HeapInUse        float64 `json:"heap_in_use_bytes"`  // of the server
	StackInUse       float64 `json:"stack_in_use_bytes"` // of the server's goroutines
}

// ConnectFigures are what connections cost on one kind of server.
type ConnectFigures struct {
	Server     string      `json:"server"` // bare: accept and handshake alone; rookery: up to the welcome
	Way        string      `json:"way"`    // storm: as fast as they go; rate: each when it is due
	Count      int         `json:"connects"`
	PerSecond  float64     `json:"connects_per_second"`
	CPUUs      float64     `json:"server_cpu_us_per_connect"`
	RatioRate  float64     `json:"rate_to_bare,omitempty"`    // of connects a second, median of rounds
	RatioCPU   float64     `json:"bare_to_cpu,omitempty"`     // the bare server's time to this one's, median of rounds
	Rounds     []float64   `json:"rounds_per_second"`         // each round's connects a second
	RoundsCPU  []float64   `json:"rounds_cpu_us_per_connect"` // each round's
	Latency    Percentiles `json:"latency"`                   // of all rounds, from due (storm: from the dial) to the end of the greeting
	LoadLag    Percentiles `json:"load_lag"`                  // of a rate: from due to the dial
	Incomplete int         `json:"incomplete,omitempty"`      // connections that were not up in time
	LoadCores  float64     `json:"load_cores,omitempty"`      // of the newest round
}

// FanoutFigures are what one message to many sockets costs.
type FanoutFigures struct {
	Recipients int         `json:"recipients"`
	Group      bool        `json:"group,omitempty"` // members of a group; else devices of one user
	Messages   uint64      `json:"messages"`
	Delivered  uint64      `json:"delivered"`
	UserUs     float64     `json:"user_us_per_recipient"`   // of the server's processor time, before the kernel: by samples of its profile
	KernelUs   float64     `json:"kernel_us_per_recipient"` // the same, in the kernel
	Samples    int64       `json:"profile_samples"`         // that tell the two apart
	Latency    Percentiles `json:"latency"`                 // to every recipient
}

// ReconnectFigures are how everybody at once comes back.
type ReconnectFigures struct {
	Sessions    int         `json:"sessions"`
	SettledSecs float64     `json:"settled_seconds"` // until all are caught up
	Session     Percentiles `json:"session"`         // from the close until one is caught up
	Attempts    uint64      `json:"attempts"`        // connections begun
	Retried     uint64      `json:"retried"`         // that failed, and were tried again behind a back-off
	AppErrors   uint64      `json:"app_errors"`      // that an SDK would show to its app
	Unsettled   int         `json:"unsettled"`       // sessions that were not back in time
	CPUUs       float64     `json:"server_cpu_us_per_session"`
	Exchanged   uint64      `json:"exchanged"` // messages delivered afterwards, one from each session
}
