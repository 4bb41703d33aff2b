package frame

// AppendMessage appends an unmasked frame holding a whole message: a server's.
func AppendMessage(dst []byte, op Op, payload []byte) []byte { return dst }

// AppendHeader appends the header of an unmasked final frame of n payload bytes.
func AppendHeader(dst []byte, op Op, rsv1 bool, n int) []byte { return dst }

// HeaderBytes returns the size of an unmasked header for n payload bytes.
func HeaderBytes(n int) int { return 0 }

// AppendMasked appends a masked frame holding a whole message: a client's.
func AppendMasked(dst []byte, op Op, payload []byte, key [4]byte) []byte { return dst }

// AppendDeflated appends an unmasked frame holding a compressed message. With
// the zero p it is AppendMessage.
func AppendDeflated(dst []byte, op Op, payload []byte, p DeflateParams) []byte { return dst }

// AppendClose appends an unmasked close frame. With the code 0 or
// CloseNoStatus it is empty; the reason is cut to what fits.
func AppendClose(dst []byte, code uint16, reason string) []byte { return dst }
