package web

import (
	"net/http"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/media"
)

// blob answers signed URLs of the embedded folder.
func (s *Server) blob(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.site.Blobs == nil:
		fail(w, chat.Errorf(chat.CodeNotFound, "there is no media here"))
	case r.Method == http.MethodOptions:
		s.preflight(w, r)
	default:
		if err := s.share(w, r); err != nil {
			fail(w, err)
			return
		}
		http.StripPrefix("/media", s.site.Blobs).ServeHTTP(w, r)
	}
}

// mediaAsk begins an upload.
type mediaAsk struct {
	Size int64  `json:"size"`
	Type string `json:"type"`
	TTL  int64  `json:"ttl"` // seconds, of the message; 0 is for ever
}

// mediaSlot is where an upload's parts go.
type mediaSlot struct {
	Name      string      `json:"name"`
	Size      int64       `json:"size"`
	Type      string      `json:"type"`
	PartBytes int64       `json:"part_bytes"`
	Complete  bool        `json:"complete"`
	Missing   []mediaPart `json:"missing"`
	Expires   int64       `json:"expires"` // of the URLs, ms since 1970
}

type mediaPart struct {
	Part int    `json:"part"` // from 1
	Size int64  `json:"size"`
	URL  string `json:"url"` // PUT, with the size as Content-Length and the blob's Content-Type
}

// mediaLink is where a blob can be downloaded.
type mediaLink struct {
	URL     string `json:"url"`
	Size    int64  `json:"size"`
	Type    string `json:"type"`
	Expires int64  `json:"expires"` // ms since 1970
}

type nothing struct{}

// desk is media for a user who has not asked too often.
func (s *Server) desk(id caller) (*media.Desk, error) {
	if s.site.Media == nil {
		return nil, chat.Errorf(chat.CodeNotFound, "there is no media on this server")
	}
	return s.site.Media, s.rates.spend(id.User)
}

func (s *Server) mediaBegin(_ http.ResponseWriter, r *http.Request, id caller) (any, error) {
	d, err := s.desk(id)
	if err != nil {
		return nil, err
	}
	var ask mediaAsk
	if err := body(r, &ask); err != nil {
		return nil, err
	}
	if ask.TTL < 0 || ask.TTL > int64(100*365*24*time.Hour/time.Second) {
		return nil, chat.Errorf(chat.CodeBadTTL, "a time to live of %d s cannot be", ask.TTL)
	}
	slot, err := d.Begin(r.Context(), id.User, ask.Size, ask.Type, time.Duration(ask.TTL)*time.Second)
	return slotOf(slot), err
}

func (s *Server) mediaSlot(_ http.ResponseWriter, r *http.Request, id caller) (any, error) {
	d, err := s.desk(id)
	if err != nil {
		return nil, err
	}
	slot, err := d.Resume(r.Context(), id.User, r.PathValue("name"))
	return slotOf(slot), err
}

func slotOf(slot *media.Slot) *mediaSlot {
	if slot == nil {
		return nil
	}
	m := &mediaSlot{
		Name: slot.Name, Size: slot.Size, Type: slot.Type, PartBytes: media.PartBytes,
		Complete: slot.Complete, Missing: []mediaPart{}, Expires: slot.URLsEnd.UnixMilli(),
	}
	for i, part := range slot.Missing {
		m.Missing = append(m.Missing, mediaPart{Part: part, Size: slot.PartSize(part), URL: slot.URLs[i]})
	}
	return m
}

func (s *Server) mediaEnd(_ http.ResponseWriter, r *http.Request, id caller) (any, error) {
	d, err := s.desk(id)
	if err != nil {
		return nil, err
	}
	return nothing{}, d.End(r.Context(), id.User, r.PathValue("name"))
}

func (s *Server) mediaURL(_ http.ResponseWriter, r *http.Request, id caller) (any, error) {
	d, err := s.desk(id)
	if err != nil {
		return nil, err
	}
	l, err := d.URL(r.Context(), id.User, r.PathValue("name"))
	return mediaLink{URL: l.URL, Size: l.Size, Type: l.Type, Expires: l.End.UnixMilli()}, err
}

func (s *Server) mediaDrop(_ http.ResponseWriter, r *http.Request, id caller) (any, error) {
	d, err := s.desk(id)
	if err != nil {
		return nil, err
	}
	return nothing{}, d.Drop(r.Context(), id.User, r.PathValue("name"))
}
