package media

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

const (
	uploadAge  = 24 * time.Hour     // of an upload, until it is swept when it was not ended
	sendWithin = 24 * time.Hour     // from the slot to the message, whose time to live begins then
	messageLag = 3 * 24 * time.Hour // messages are deleted up to two days late
	urlParts   = 16                 // URLs of a slot; for the others the client asks again
)

// Limits are what users may do.
type Limits struct {
	Bytes    int64         // of a blob
	Quota    int64         // bytes of a user's blobs
	Types    []string      // Content-Types that are taken
	Messages time.Duration // how long messages are kept that have no time to live of their own
	URLs     time.Duration // how long a URL is good
	Service  string        // scheme and host of an object store of its own, "" for none
	CDN      string        // replaces scheme and host of download URLs, "" for none
}

// Desk decides who may upload and download what.
type Desk struct {
	names  *Names
	store  Store
	limits Limits
	links  links
	Stats  Stats
}

// NewDesk serves blobs of a store.
func NewDesk(names *Names, store Store, limits Limits) *Desk {
	return &Desk{names: names, store: store, limits: limits}
}

// Limits returns what users may do.
func (d *Desk) Limits() Limits { return d.limits }

// Hosts are where URLs of blobs lead beside this server.
func (d *Desk) Hosts() (list []string) {
	for _, at := range []string{d.limits.Service, d.limits.CDN} {
		if at != "" {
			list = append(list, at)
		}
	}
	return list
}

// Slot is an upload: where its missing parts go.
type Slot struct {
	Blob
	Missing  []int    // parts, at most urlParts of them
	URLs     []string // where each of these goes, by PUT
	URLsEnd  time.Time
	Complete bool // the upload has been ended: nothing is missing
}

// Begin gives a slot for a new blob. ttl is the message's time to live, 0 for
// ever, which is as long as messages are kept.
func (d *Desk) Begin(ctx context.Context, u chat.User, size int64, typ string, ttl time.Duration) (*Slot, error) {
	switch {
	case size < 1:
		return nil, chat.Errorf(chat.CodeBadMedia, "a blob has at least one byte")
	case size > d.limits.Bytes:
		return nil, chat.Errorf(chat.CodeTooLarge, "a blob has at most %d bytes here", d.limits.Bytes)
	case len(typ) > maxType || !slices.Contains(d.limits.Types, typ):
		return nil, chat.Errorf(chat.CodeBadMedia, "the type %.64q is not taken here; encrypted files are application/octet-stream", typ)
	case ttl < 0:
		return nil, chat.Errorf(chat.CodeBadTTL, "a time to live is not below 0")
	}
	life := ttl + sendWithin
	if ttl == 0 || ttl > d.limits.Messages {
		life = d.limits.Messages + messageLag
	}
	b, err := d.names.New(u, size, typ, time.Now().Add(life))
	if err != nil {
		return nil, err
	}
	if err := d.store.Begin(ctx, &b); err != nil {
		return nil, d.failed(err)
	}
	// It is there when what is used is counted: two slots at once cannot both
	// find room for one.
	used, err := d.store.Used(ctx, b.Tenant, b.Owner)
	if err == nil && used > d.limits.Quota {
		err = chat.Errorf(chat.CodeQuota, "with this blob there would be %d bytes of %d: remove some, or wait until their time is over", used, d.limits.Quota)
		d.Stats.OverQuota.Add(1)
	}
	if err != nil {
		d.store.Drop(ctx, &b) // the sweep finds it otherwise
		return nil, d.failed(err)
	}
	d.Stats.Uploads.Add(1)
	return d.slot(ctx, &b)
}

// Resume gives the slot of an upload that was begun.
func (d *Desk) Resume(ctx context.Context, u chat.User, name string) (*Slot, error) {
	b, err := d.own(u, name)
	if err != nil {
		return nil, err
	}
	return d.slot(ctx, &b)
}

func (d *Desk) slot(ctx context.Context, b *Blob) (*Slot, error) {
	have, complete, err := d.store.Have(ctx, b)
	if err != nil {
		return nil, d.failed(err)
	}
	s := &Slot{Blob: *b, Complete: complete}
	for part := 1; !complete && part <= b.Parts() && len(s.Missing) < urlParts; part++ {
		if !slices.Contains(have, part) {
			s.Missing = append(s.Missing, part)
		}
	}
	s.URLsEnd = time.Now().Add(d.limits.URLs)
	if len(s.Missing) > 0 {
		if s.URLs, err = d.store.PutURLs(ctx, b, s.Missing, d.limits.URLs); err != nil {
			return nil, d.failed(err)
		}
	}
	return s, nil
}

// End makes a blob of an upload's parts. A message may name it from then on.
func (d *Desk) End(ctx context.Context, u chat.User, name string) error {
	b, err := d.own(u, name)
	if err != nil {
		return err
	}
	if err := d.store.Complete(ctx, &b); err != nil {
		return d.failed(err)
	}
	d.Stats.Completed.Add(1)
	return nil
}

// Link is where a blob can be downloaded.
type Link struct {
	Blob
	URL string
	End time.Time // of the URL
}

// URL is where a blob can be downloaded, for half of Limits.URLs at least.
// Whoever of the tenant knows its name may: names travel inside messages, and
// cannot be guessed.
func (d *Desk) URL(ctx context.Context, u chat.User, name string) (l Link, err error) {
	if l.Blob, err = d.parse(u, name); err != nil {
		return l, err
	}
	if known, ok := d.links.get(l.Name, d.limits.URLs/2); ok {
		d.Stats.Downloads.Add(1)
		return known, nil
	}
	l.End = time.Now().Add(d.limits.URLs)
	if l.URL, err = d.store.GetURL(ctx, &l.Blob, d.limits.URLs); err != nil {
		return l, d.failed(err)
	}
	d.Stats.Downloads.Add(1)
	if d.limits.CDN != "" {
		if l.URL, err = throughCDN(d.limits.CDN, l.URL); err != nil {
			return l, err
		}
	}
	d.links.keep(l)
	return l, nil
}

// throughCDN has a URL's path and query at another host, which asks the URL's
// own for what it does not have.
func throughCDN(base, link string) (string, error) {
	u, err := url.Parse(link)
	if err != nil {
		return "", err
	}
	return base + u.EscapedPath() + "?" + u.RawQuery, nil
}

// Drop removes a blob or upload of the user's own.
func (d *Desk) Drop(ctx context.Context, u chat.User, name string) error {
	b, err := d.own(u, name)
	if err != nil {
		return err
	}
	return d.failed(d.store.Drop(ctx, &b))
}

// Sweep removes what has ended.
func (d *Desk) Sweep(ctx context.Context) error {
	now := time.Now()
	n, err := d.store.Sweep(ctx, now, now.Add(-uploadAge))
	d.Stats.Swept.Add(uint64(n))
	return err
}

// parse reads a name; one that has ended is as unknown as one that never was.
func (d *Desk) parse(u chat.User, name string) (Blob, error) {
	b, err := d.names.Parse(u.Tenant(), name)
	if err != nil || time.Now().After(b.Expires) {
		return Blob{}, chat.Errorf(chat.CodeNotFound, "there is no such blob, or not any more")
	}
	return b, nil
}

func (d *Desk) own(u chat.User, name string) (Blob, error) {
	b, err := d.parse(u, name)
	if err == nil && b.Owner != d.names.Owner(u) {
		err = chat.Errorf(chat.CodeForbidden, "the blob is somebody else's")
	}
	return b, err
}

// failed says what a store's error is to a client.
func (d *Desk) failed(err error) error {
	var coded *chat.Error
	switch {
	case err == nil || errors.As(err, &coded):
		return err
	case errors.Is(err, ErrNotFound):
		return chat.Errorf(chat.CodeNotFound, "the upload was not begun, or given up: begin another")
	case errors.Is(err, ErrParts):
		return chat.Errorf(chat.CodeBadMedia, "parts of the upload are missing: ask for the slot again, which says which")
	}
	d.Stats.Failed.Add(1)
	e := chat.Errorf(chat.CodeUnavailable, "the media store does not answer: %v", err)
	e.RetryAfter = time.Second
	return e
}
