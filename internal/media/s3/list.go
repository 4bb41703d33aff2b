package s3

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/rookery-chat/rookery/internal/media"
)

// Used implements media.Store.
func (s *Bucket) Used(ctx context.Context, tenant, owner string) (total int64, err error) {
	prefix := media.Prefix(tenant, owner)
	err1 := s.blobs(ctx, prefix, func(b *media.Blob) error { total += b.Charge(); return nil })
	err2 := s.uploads(ctx, prefix, func(b *media.Blob, _ minio.ObjectMultipartInfo) error { total += b.Charge(); return nil })
	return total, errors.Join(err1, err2)
}

// Sweep implements media.Store.
func (s *Bucket) Sweep(ctx context.Context, now, uploadsBefore time.Time) (removed int, err error) {
	err1 := s.blobs(ctx, "", func(b *media.Blob) error {
		if !now.After(b.Expires) {
			return nil
		}
		removed++
		return s.core.RemoveObject(ctx, s.opt.Bucket, s.key(b), minio.RemoveObjectOptions{})
	})
	err2 := s.uploads(ctx, "", func(b *media.Blob, u minio.ObjectMultipartInfo) error {
		if !u.Initiated.Before(uploadsBefore) {
			return nil
		}
		removed++
		return s.core.AbortMultipartUpload(ctx, s.opt.Bucket, s.key(b), u.UploadID)
	})
	return removed, errors.Join(err1, err2)
}

// blobs goes through all blobs whose key begins so.
func (s *Bucket) blobs(ctx context.Context, prefix string, f func(*media.Blob) error) error {
	for token := ""; ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		r, err := s.core.ListObjectsV2(s.opt.Bucket, s.opt.Prefix+prefix, "", token, "", listKeys)
		if err != nil {
			return err
		}
		for _, o := range r.Contents {
			if b, err := s.names.ParseKey(strings.TrimPrefix(o.Key, s.opt.Prefix)); err == nil {
				if err := f(&b); err != nil {
					return err
				}
			}
		}
		if !r.IsTruncated {
			return nil
		}
		token = r.NextContinuationToken
	}
}

// uploads goes through all uploads that have not been ended.
func (s *Bucket) uploads(ctx context.Context, prefix string, f func(*media.Blob, minio.ObjectMultipartInfo) error) error {
	for key, id := "", ""; ; {
		r, err := s.core.ListMultipartUploads(ctx, s.opt.Bucket, s.opt.Prefix+prefix, key, id, "", listKeys)
		if err != nil {
			return err
		}
		for _, u := range r.Uploads {
			if b, err := s.names.ParseKey(strings.TrimPrefix(u.Key, s.opt.Prefix)); err == nil {
				if err := f(&b, u); err != nil {
					return err
				}
			}
		}
		if !r.IsTruncated {
			return nil
		}
		key, id = r.NextKeyMarker, r.NextUploadIDMarker
	}
}
