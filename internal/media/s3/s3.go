// Package s3 keeps blobs in a bucket of an S3 service, by minio-go. An upload is
// a multipart upload of the service; URLs are pre-signed.
package s3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/rookery-chat/rookery/internal/media"
)

const listKeys = 1000 // of one answer of the service

// Options say where the bucket is.
type Options struct {
	Endpoint  string // http:// or https:// URL of the service
	Region    string
	Bucket    string
	Prefix    string // begins every key, and ends in a slash or is empty
	AccessKey string // empty: AWS_ACCESS_KEY_ID and its like, or the machine's role
	SecretKey string
	TLS       *tls.Config // nil: the system's authorities
}

// Bucket is a media.Store.
type Bucket struct {
	core  *minio.Core
	opt   Options
	names *media.Names
}

// Open returns a bucket's store. It does not speak with the service yet.
func Open(o Options, names *media.Names) (*Bucket, error) {
	u, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("media: %w", err)
	}
	keys := credentials.NewStaticV4(o.AccessKey, o.SecretKey, "")
	if o.AccessKey == "" {
		keys = credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.IAM{}})
	}
	transport, err := minio.DefaultTransport(u.Scheme == "https")
	if err != nil {
		return nil, fmt.Errorf("media: %w", err)
	}
	if o.TLS != nil {
		transport.TLSClientConfig = o.TLS
	}
	core, err := minio.NewCore(u.Host, &minio.Options{Creds: keys, Secure: u.Scheme == "https", Region: o.Region, Transport: transport, MaxRetries: 3})
	if err != nil {
		return nil, fmt.Errorf("media: %w", err)
	}
	return &Bucket{core: core, opt: o, names: names}, nil
}

func (s *Bucket) key(b *media.Blob) string { return s.opt.Prefix + b.Key() }

// Check says whether the bucket can be reached.
func (s *Bucket) Check(ctx context.Context) error {
	ok, err := s.core.BucketExists(ctx, s.opt.Bucket)
	if err == nil && !ok {
		err = fmt.Errorf("there is no bucket %s", s.opt.Bucket)
	}
	return err
}

// Begin implements media.Store.
func (s *Bucket) Begin(ctx context.Context, b *media.Blob) error {
	_, err := s.core.NewMultipartUpload(ctx, s.opt.Bucket, s.key(b), minio.PutObjectOptions{ContentType: b.Type, ContentDisposition: "attachment"})
	return err
}

// upload finds the upload of a blob: the service's id of it is not kept here.
func (s *Bucket) upload(ctx context.Context, b *media.Blob) (id string, err error) {
	r, err := s.core.ListMultipartUploads(ctx, s.opt.Bucket, s.key(b), "", "", "", 1)
	if err != nil {
		return "", err
	}
	for _, u := range r.Uploads {
		if u.Key == s.key(b) {
			return u.UploadID, nil
		}
	}
	return "", media.ErrNotFound
}

func (s *Bucket) exists(ctx context.Context, b *media.Blob) (bool, error) {
	_, err := s.core.StatObject(ctx, s.opt.Bucket, s.key(b), minio.StatObjectOptions{})
	if notFound(err) {
		return false, nil
	}
	return err == nil, err
}

func notFound(err error) bool {
	var r minio.ErrorResponse
	return errors.As(err, &r) && (r.StatusCode == http.StatusNotFound || r.Code == "NoSuchKey" || r.Code == "NoSuchUpload")
}

// parts lists the parts that are there and whole.
func (s *Bucket) parts(ctx context.Context, b *media.Blob, upload string) (list []minio.CompletePart, err error) {
	for marker := 0; ; {
		r, err := s.core.ListObjectParts(ctx, s.opt.Bucket, s.key(b), upload, marker, listKeys)
		if err != nil {
			return nil, err
		}
		for _, p := range r.ObjectParts {
			if p.PartNumber <= b.Parts() && p.Size == b.PartSize(p.PartNumber) {
				list = append(list, minio.CompletePart{PartNumber: p.PartNumber, ETag: p.ETag})
			}
		}
		if !r.IsTruncated || r.NextPartNumberMarker <= marker {
			return list, nil
		}
		marker = r.NextPartNumberMarker
	}
}

// Have implements media.Store.
func (s *Bucket) Have(ctx context.Context, b *media.Blob) (have []int, complete bool, err error) {
	upload, err := s.upload(ctx, b)
	if errors.Is(err, media.ErrNotFound) {
		if complete, err := s.exists(ctx, b); err != nil || complete {
			return nil, complete, err
		}
		return nil, false, media.ErrNotFound
	}
	if err != nil {
		return nil, false, err
	}
	list, err := s.parts(ctx, b, upload)
	for _, p := range list {
		have = append(have, p.PartNumber)
	}
	slices.Sort(have)
	return have, false, err
}

// PutURLs implements media.Store. What a URL signs of the headers, the service
// demands.
func (s *Bucket) PutURLs(ctx context.Context, b *media.Blob, parts []int, life time.Duration) (list []string, err error) {
	upload, err := s.upload(ctx, b)
	if err != nil {
		return nil, err
	}
	for _, n := range parts {
		q := url.Values{"uploadId": {upload}, "partNumber": {strconv.Itoa(n)}}
		h := http.Header{"Content-Type": {b.Type}, "Content-Length": {strconv.FormatInt(b.PartSize(n), 10)}}
		u, err := s.core.PresignHeader(ctx, http.MethodPut, s.opt.Bucket, s.key(b), life, q, h)
		if err != nil {
			return nil, err
		}
		list = append(list, u.String())
	}
	return list, nil
}

// Complete implements media.Store.
func (s *Bucket) Complete(ctx context.Context, b *media.Blob) error {
	upload, err := s.upload(ctx, b)
	if errors.Is(err, media.ErrNotFound) {
		if there, err := s.exists(ctx, b); err != nil || there {
			return err
		}
		return media.ErrNotFound
	}
	if err != nil {
		return err
	}
	parts, err := s.parts(ctx, b, upload)
	if err != nil {
		return err
	}
	if len(parts) != b.Parts() {
		return media.ErrParts
	}
	_, err = s.core.CompleteMultipartUpload(ctx, s.opt.Bucket, s.key(b), upload, parts, minio.PutObjectOptions{})
	return err
}

// GetURL implements media.Store. The service says in its answer what the URL
// asks it to.
func (s *Bucket) GetURL(ctx context.Context, b *media.Blob, life time.Duration) (string, error) {
	answer := url.Values{
		"response-cache-control": {"public, immutable"},
		"response-expires":       {time.Now().Add(life).UTC().Format(http.TimeFormat)},
	}
	u, err := s.core.PresignedGetObject(ctx, s.opt.Bucket, s.key(b), life, answer)
	if err != nil {
		return "", err
	}
	return u.String(), nil
}

// Drop implements media.Store.
func (s *Bucket) Drop(ctx context.Context, b *media.Blob) error {
	upload, err := s.upload(ctx, b)
	if err == nil {
		err = s.core.AbortMultipartUpload(ctx, s.opt.Bucket, s.key(b), upload)
	}
	if err != nil && !errors.Is(err, media.ErrNotFound) && !notFound(err) {
		return err
	}
	err = s.core.RemoveObject(ctx, s.opt.Bucket, s.key(b), minio.RemoveObjectOptions{})
	if notFound(err) {
		return nil
	}
	return err
}
