package media

import (
	"context"
	"errors"
	"time"
)

// Store keeps blobs. Clients put parts and get blobs by URLs that it signs:
// each is good for one method, one key, one part with its size and type, until
// its end, and anything else is answered with 403. Its methods may be called
// from any goroutine, and again with the same arguments.
type Store interface {
	// Begin starts an upload.
	Begin(ctx context.Context, b *Blob) error

	// Have lists the parts that are there, rising. complete says that the upload
	// has been ended. An upload that was never begun, or was swept, is ErrNotFound.
	Have(ctx context.Context, b *Blob) (parts []int, complete bool, err error)

	// PutURLs signs a PUT of each part: with the part's Content-Length and the
	// blob's Content-Type.
	PutURLs(ctx context.Context, b *Blob, parts []int, life time.Duration) ([]string, error)

	// Complete makes one blob of the parts, durably. A part that is missing is
	// ErrParts.
	Complete(ctx context.Context, b *Blob) error

	// GetURL signs a GET, whole or by Range. Whether there is such a blob, the
	// GET tells, with 404. Its answer may be kept by any cache until the URL's
	// end, which Expires says.
	GetURL(ctx context.Context, b *Blob, life time.Duration) (string, error)

	// Drop removes a blob or an upload; what is not there is no error.
	Drop(ctx context.Context, b *Blob) error

	// Used is what an owner's blobs and uploads count, by Charge.
	Used(ctx context.Context, tenant, owner string) (int64, error)

	// Sweep removes blobs that have ended at a time, and uploads that began
	// before another; removed counts both.
	Sweep(ctx context.Context, now, uploadsBefore time.Time) (removed int, err error)
}

// The errors of a Store that are no fault of its.
var (
	ErrNotFound = errors.New("media: no such blob or upload")
	ErrParts    = errors.New("media: parts of the upload are missing")
)
