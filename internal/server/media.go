package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rookery-chat/rookery/internal/admin"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/media"
	"github.com/rookery-chat/rookery/internal/media/folder"
	"github.com/rookery-chat/rookery/internal/media/s3"
)

// mediaSweepEvery is how often blobs are looked for whose time is over.
const mediaSweepEvery = time.Hour

// mediaKeyFile is the secret's file in the data folder, mode 0600.
const mediaKeyFile = "media.key"

// leastSecret is the bytes that a secret has at least.
const leastSecret = 32

// mediaSecret reads what names and URLs of blobs are signed with, or makes it in
// the data folder where none is given.
func mediaSecret(c *config.Config) ([]byte, error) {
	path := c.Media.Secret
	if path == "" {
		path = filepath.Join(c.Data, mediaKeyFile)
		if err := makeSecret(path); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrData, err)
		}
	}
	secret, err := os.ReadFile(path)
	if err == nil && len(secret) < leastSecret {
		err = fmt.Errorf("%s has %d bytes, and %d are needed at least", path, len(secret), leastSecret)
	}
	if err != nil {
		return nil, fmt.Errorf("media: the secret: %w", err)
	}
	return secret, nil
}

// makeSecret puts a whole secret in its place where there is none. Several
// processes may share the folder, and the first one's is everybody's.
func makeSecret(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), mediaKeyFile+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	secret := make([]byte, leastSecret)
	rand.Read(secret) // never fails
	_, err = f.Write(secret)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// openMedia makes the desk and, for the embedded folder, what answers its URLs.
func (s *Server) openMedia() (desk *media.Desk, blobs http.Handler, err error) {
	c := &s.cfg.Media
	if c.URL == "off" {
		return nil, nil, nil
	}
	secret, err := mediaSecret(s.cfg)
	if err != nil {
		return nil, nil, err
	}
	names := media.NewNames(secret)
	limits := media.Limits{
		Bytes: c.Bytes, Quota: c.Quota, Types: c.Types, Messages: s.cfg.Retention.Messages, URLs: c.URLs, CDN: c.CDN,
	}
	var store media.Store
	scheme, rest, _ := strings.Cut(c.URL, ":")
	switch scheme {
	case "file":
		if rest == "" {
			rest = filepath.Join(s.cfg.Data, "media")
		}
		f, err := folder.Open(rest, names, secret, s.web.URL()+"/media/")
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrData, err)
		}
		store, blobs = f, f
	case "s3":
		limits.Service = c.Endpoint
		if store, err = s.openBucket(rest, names); err != nil {
			return nil, nil, err
		}
	default:
		return nil, nil, nil
	}
	desk = media.NewDesk(names, store, limits)
	s.admin.Register(admin.Media(&desk.Stats))
	return desk, blobs, nil
}

func (s *Server) openBucket(rest string, names *media.Names) (*s3.Bucket, error) {
	c := &s.cfg.Media
	bucket, prefix, _ := strings.Cut(strings.Trim(rest, "/"), "/")
	if prefix != "" {
		prefix += "/"
	}
	text, err := config.Password(c.Credentials)
	if err != nil {
		return nil, err
	}
	access, secret, _ := strings.Cut(text, "\n")
	b, err := s3.Open(s3.Options{
		Endpoint: c.Endpoint, Region: c.Region, Bucket: bucket, Prefix: prefix,
		AccessKey: strings.TrimSpace(access), SecretKey: strings.TrimSpace(secret),
	}, names)
	if err == nil {
		s.admin.Tell("media", b.Check) // all gateways lack it alike
	}
	return b, err
}

// sweepMedia removes blobs whose time is over. Several gateways may do it at
// once.
func (s *Server) sweepMedia(ctx context.Context, desk *media.Desk) {
	every := time.NewTicker(mediaSweepEvery)
	defer every.Stop()
	for {
		if err := desk.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.logger.Error("media sweep failed", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}
