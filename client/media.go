package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// What follows is the way of pictures and files: over HTTP, beside the session,
// from and to the store that the server names. It encrypts nothing: package
// e2ee does, on which apps build. docs/media.md tells it whole.

// MediaPrefix begins a message's Media where it names a blob; the name follows.
const MediaPrefix = "media:"

// mediaTries is how often in a row an upload or download is tried without
// getting any further.
const mediaTries = 5

// maxMediaWait bounds how long an upload, a download or a Drop waits when the
// server or the store says by Retry-After when to come again.
const maxMediaWait = 2 * time.Minute

// answerBytes bounds an answer of the API.
const answerBytes = 1 << 20

// Media uploads and downloads blobs. Its methods may be called from any
// goroutine.
type Media struct {
	// Web is the URL of the server's web listener, such as http://127.0.0.1:8082.
	Web string
	// Token returns a JWT for the user, as Options.Token.
	Token func(context.Context) (string, error)
	// HTTP carries the requests. nil: http.DefaultClient.
	HTTP *http.Client
}

// Upload is one upload.
type Upload struct {
	Size     int64
	Type     string                  // "" is application/octet-stream
	TTL      time.Duration           // of the message that will name the blob, 0 is for ever
	Name     string                  // of an upload to go on with, "" for a new one
	Begun    func(name string)       // is told the name as soon as there is one, to go on after a restart
	Progress func(done, total int64) // is told of each part, from the calling goroutine
}

// mediaSlot is the API's answer to an upload.
type mediaSlot struct {
	Name      string `json:"name"`
	Size      int64  `json:"size"`
	Type      string `json:"type"`
	PartBytes int64  `json:"part_bytes"`
	Complete  bool   `json:"complete"`
	Missing   []struct {
		Part int    `json:"part"`
		Size int64  `json:"size"`
		URL  string `json:"url"`
	} `json:"missing"`
}

// Upload puts a blob's bytes and returns its name, for a message's Media. It
// goes on after interruptions of the network, and with Upload.Name after those
// of the process: parts that arrived are not sent again. After mediaTries tries
// in a row that put nothing it returns the last one's error. What says by
// Retry-After when to come again is heeded, for two minutes at most.
func (m *Media) Upload(ctx context.Context, src io.ReaderAt, u Upload) (name string, err error) {
	if u.Type == "" {
		u.Type = "application/octet-stream"
	}
	for failures := 0; ; {
		parts, err := m.uploadOnce(ctx, src, &u)
		if err == nil || chat.CodeOf(err).Action() != chat.ActionRetry || ctx.Err() != nil {
			return u.Name, err
		}
		if parts > 0 {
			failures = 0
		}
		if failures++; failures >= mediaTries {
			return u.Name, err
		}
		if !pause(ctx, err, failures) {
			return u.Name, err
		}
	}
}

// uploadOnce goes on with an upload to its end, and returns how many parts it
// put, also where it fails.
func (m *Media) uploadOnce(ctx context.Context, src io.ReaderAt, u *Upload) (parts int, err error) {
	for {
		// Which are missing, and where they go, the server knows best.
		slot, err := m.slot(ctx, u)
		if err != nil || slot.Complete {
			return parts, err
		}
		if len(slot.Missing) == 0 {
			return parts, m.api(ctx, http.MethodPost, "/v1/media/"+url.PathEscape(u.Name)+"/end", nil, nil)
		}
		n, err := m.putParts(ctx, src, slot, u.Progress)
		parts += n
		if err != nil {
			return parts, err
		}
	}
}

// slot asks where an upload is, and begins it if it has no name.
func (m *Media) slot(ctx context.Context, u *Upload) (*mediaSlot, error) {
	var slot mediaSlot
	var err error
	if u.Name == "" {
		ask := map[string]any{"size": u.Size, "type": u.Type, "ttl": int64((u.TTL + time.Second - 1) / time.Second)}
		err = m.api(ctx, http.MethodPost, "/v1/media", ask, &slot)
	} else {
		err = m.api(ctx, http.MethodGet, "/v1/media/"+url.PathEscape(u.Name)+"/slot", nil, &slot)
	}
	if err != nil {
		return nil, err
	}
	u.Name = slot.Name
	if slot.Size != u.Size || slot.PartBytes < 1 {
		return nil, chat.Errorf(chat.CodeBadMedia, "the upload %s is of %d bytes, not of %d", slot.Name, slot.Size, u.Size)
	}
	if u.Begun != nil {
		u.Begun(slot.Name)
		u.Begun = nil // once is enough
	}
	return &slot, nil
}

// putParts puts the parts that a slot lists, and returns how many it put.
func (m *Media) putParts(ctx context.Context, src io.ReaderAt, slot *mediaSlot, progress func(done, total int64)) (parts int, err error) {
	for _, p := range slot.Missing {
		at := int64(p.Part-1) * slot.PartBytes
		if p.Part < 1 || p.Size < 1 || p.Size > slot.PartBytes || at+p.Size > slot.Size {
			return parts, chat.Errorf(chat.CodeInternal, "the server asks for a part that is none: %d, of %d bytes", p.Part, p.Size)
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPut, p.URL, io.NewSectionReader(src, at, p.Size))
		if err != nil {
			return parts, err
		}
		r.ContentLength = p.Size
		r.Header.Set("Content-Type", slot.Type)
		res, err := m.client().Do(r)
		if err != nil {
			return parts, fmt.Errorf("%w: %w", chat.Errorf(chat.CodeUnavailable, "the upload was cut off"), err)
		}
		text, _ := io.ReadAll(io.LimitReader(res.Body, refusalBytes))
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return parts, storeError(res, "part %d was answered with %s: %s", p.Part, res.Status, bytes.TrimSpace(text))
		}
		parts++
		if progress != nil {
			progress(at+p.Size, slot.Size)
		}
	}
	return parts, nil
}

// Download is one download.
type Download struct {
	From     int64                   // bytes that are there already
	Progress func(done, total int64) // is told now and then, from the calling goroutine
}

// Download writes a blob's bytes from d.From on, and returns how many there are
// now, also where it fails: who has them goes on from there. It goes on by
// itself after interruptions of the network, and heeds Retry-After as Upload does.
func (m *Media) Download(ctx context.Context, name string, dst io.Writer, d Download) (have int64, err error) {
	have = d.From
	for failures := 0; ; failures++ {
		before := have
		var again bool
		have, again, err = m.downloadOnce(ctx, name, dst, have, d.Progress)
		if err == nil || !again || ctx.Err() != nil {
			return have, err
		}
		if have > before {
			failures = 0
		}
		if failures >= mediaTries {
			return have, err
		}
		if !pause(ctx, err, failures+1) {
			return have, err
		}
	}
}

// downloadOnce goes on from a byte. again says that another try may do better.
func (m *Media) downloadOnce(ctx context.Context, name string, dst io.Writer, have int64, progress func(done, total int64)) (now int64, again bool, err error) {
	var link struct {
		URL  string `json:"url"`
		Size int64  `json:"size"`
	}
	if err := m.api(ctx, http.MethodGet, "/v1/media/"+url.PathEscape(name), nil, &link); err != nil {
		return have, chat.CodeOf(err).Action() == chat.ActionRetry, err
	}
	if have >= link.Size { // a store would refuse to give nothing
		return have, false, nil
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, link.URL, nil)
	if err != nil {
		return have, false, err
	}
	if have > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	res, err := m.client().Do(r)
	if err != nil {
		return have, true, fmt.Errorf("client: download: %w", err)
	}
	defer res.Body.Close()
	total, err := expectRange(res, have)
	if err != nil {
		return have, chat.CodeOf(err).Action() == chat.ActionRetry, err
	}
	if total >= 0 && total != link.Size {
		return have, false, chat.Errorf(chat.CodeUnavailable, "the media store has %d bytes of the blob, not %d", total, link.Size)
	}
	total = link.Size
	w := &counting{dst: dst, have: have, total: total, progress: progress}
	_, err = io.Copy(w, io.LimitReader(res.Body, total-have))
	if w.err != nil {
		return w.have, false, w.err // the disk, not the network
	}
	if err == nil && w.have != total {
		err = io.ErrUnexpectedEOF
	}
	return w.have, true, err
}

// expectRange holds an answer against what was asked for, and returns the
// blob's size; -1 is a proxy's that passes on what comes, and knows none.
func expectRange(res *http.Response, from int64) (total int64, err error) {
	switch {
	case res.StatusCode == http.StatusOK && from == 0:
		return res.ContentLength, nil
	case res.StatusCode == http.StatusPartialContent:
		var first, last int64
		if _, err := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &total); err == nil && first == from {
			return total, nil
		}
	case res.StatusCode == http.StatusNotFound:
		return 0, chat.Errorf(chat.CodeNotFound, "there is no such blob, or not any more")
	}
	return 0, storeError(res, "the media store answered the download with %s", res.Status)
}

// storeError is what the store refused, with when it says to come again.
func storeError(res *http.Response, format string, args ...any) error {
	e := chat.Errorf(chat.CodeUnavailable, format, args...)
	e.RetryAfter = parseRetryAfter(res.Header.Get("Retry-After"), time.Now())
	return e
}

// counting writes and tells how far it is.
type counting struct {
	dst         io.Writer
	have, total int64
	progress    func(done, total int64)
	err         error // of dst
}

func (w *counting) Write(b []byte) (int, error) {
	n, err := w.dst.Write(b)
	w.have += int64(n)
	w.err = err
	if w.progress != nil {
		w.progress(w.have, w.total)
	}
	return n, err
}

// Drop removes a blob of the user's own. One that is gone already is no error.
func (m *Media) Drop(ctx context.Context, name string) error {
	return m.api(ctx, http.MethodDelete, "/v1/media/"+url.PathEscape(name), nil, nil)
}

// DropAfter is Drop of the blob of a message that is deleted for everyone: it
// waits until the deletion is durable, so that no message stays whose file is
// gone, and then tries mediaTries times to reach the server, at the times that a
// Retry-After asks for. Where that fails, or ctx or the process ends before it, the
// blob stays until its end.
func (m *Media) DropAfter(ctx context.Context, deletion *Sent, name string) error {
	if err := deletion.Durable(ctx); err != nil {
		return err
	}
	for failures := 1; ; failures++ {
		err := m.Drop(ctx, name)
		if chat.CodeOf(err) == chat.CodeNotFound { // its end was before this
			return nil
		}
		if err == nil || chat.CodeOf(err).Action() != chat.ActionRetry || failures == mediaTries {
			return err
		}
		if !pause(ctx, err, failures) {
			return err
		}
	}
}

// pause waits before the next try: as long as the error says, or longer with each
// of the failures in a row. false: ctx has ended.
func pause(ctx context.Context, err error, failures int) bool {
	wait := time.Duration(failures) * DefaultBackoffMin
	var e *chat.Error
	if errors.As(err, &e) && e.RetryAfter > 0 {
		wait = min(e.RetryAfter, maxMediaWait)
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}

func (m *Media) client() *http.Client {
	if m.HTTP != nil {
		return m.HTTP
	}
	return http.DefaultClient
}

// api asks the server's API. The error has the server's code.
func (m *Media) api(ctx context.Context, method, path string, ask, answer any) error {
	token, err := m.Token(ctx)
	if err != nil {
		return err
	}
	var body io.Reader
	if ask != nil {
		text, err := json.Marshal(ask)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(m.Web, "/")+path, body)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := m.client().Do(r)
	if err != nil {
		return chat.Errorf(chat.CodeUnavailable, "cannot reach the web listener at %s: %v", m.Web, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, answerBytes))
	if err != nil {
		return chat.Errorf(chat.CodeUnavailable, "the web listener's answer was cut off: %v", err)
	}
	if res.StatusCode != http.StatusOK {
		return apiError(res, text)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}

// apiError reads an answer that is an error: one of the server has a body that says
// all, one of a proxy in front of it may have a Retry-After.
func apiError(res *http.Response, text []byte) error {
	var f struct {
		Number  uint16 `json:"number"`
		Text    string `json:"text"`
		RetryMs int64  `json:"retry_ms"`
	}
	if err := json.Unmarshal(text, &f); err != nil || f.Number == 0 {
		f.Number, f.Text = uint16(chat.CodeUnavailable), "the web listener answered with "+res.Status
	}
	e := chat.Errorf(chat.Code(f.Number), "%s", f.Text)
	if e.RetryAfter = time.Duration(f.RetryMs) * time.Millisecond; e.RetryAfter <= 0 {
		e.RetryAfter = parseRetryAfter(res.Header.Get("Retry-After"), time.Now())
	}
	return e
}
