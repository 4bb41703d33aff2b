package frame

// Reader reads the frames of one connection. Its zero value is ready; it holds
// partial data only, in pooled buffers. It is not safe for concurrent use.
type Reader struct {
	part *partial
}

type partial struct{}

// Next takes bytes from in and says what they were: n of them were consumed.
// With ok there is an event. Without ok and error, more is needed and all of in
// was taken. An error is an *Error, and the last word: what follows it, or
// follows a close event, is taken and ignored.
//
// The payload is unmasked in place, so in is written to. Call Next until ok is
// false, also with an empty in: that gives back what the last event lent.
func (r *Reader) Next(in []byte, l *Limits) (n int, ev Event, ok bool, err error) {
	return len(in), Event{}, false, nil
}

// Buffered returns the bytes of memory held for partial data.
func (r *Reader) Buffered() int { return 0 }

// Release gives back all that is held. The Reader is as new.
func (r *Reader) Release() {}
