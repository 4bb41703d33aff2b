package media

import "sync/atomic"

// Stats count since the start.
type Stats struct {
	Uploads   atomic.Uint64 // slots given
	Completed atomic.Uint64
	Downloads atomic.Uint64 // URLs given
	OverQuota atomic.Uint64 // slots refused
	Failed    atomic.Uint64 // calls of the store
	Swept     atomic.Uint64 // blobs and uploads removed
}
