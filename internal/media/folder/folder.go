// Package folder keeps blobs in a folder, and answers the URLs that it signs:
// the object store of a server that stands alone.
package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/rookery-chat/rookery/internal/media"
)

// Folder is a media.Store, and the handler of its URLs.
type Folder struct {
	dir    string
	names  *media.Names
	signer signer
}

// Open makes the folder where it is missing. secret signs URLs; base is the URL
// that Folder is served at, such as http://127.0.0.1:8082/media/.
func Open(dir string, names *media.Names, secret []byte, base string) (*Folder, error) {
	for _, part := range []string{blobs, uploads} {
		if err := os.MkdirAll(filepath.Join(dir, part), 0o700); err != nil {
			return nil, fmt.Errorf("media: %w", err)
		}
	}
	return &Folder{dir: dir, names: names, signer: signer{key: secret, base: base}}, nil
}

// A blob is blobs/KEY; an upload is a folder uploads/KEY with a file a part,
// named by its number.
const (
	blobs   = "blobs"
	uploads = "uploads"
)

func (f *Folder) blob(b *media.Blob) string {
	return filepath.Join(f.dir, blobs, filepath.FromSlash(b.Key()))
}
func (f *Folder) upload(b *media.Blob) string {
	return filepath.Join(f.dir, uploads, filepath.FromSlash(b.Key()))
}
func (f *Folder) part(b *media.Blob, n int) string {
	return filepath.Join(f.upload(b), strconv.Itoa(n))
}

// Begin implements media.Store.
func (f *Folder) Begin(_ context.Context, b *media.Blob) error {
	return os.MkdirAll(f.upload(b), 0o700)
}

// Have implements media.Store.
func (f *Folder) Have(_ context.Context, b *media.Blob) (parts []int, complete bool, err error) {
	if _, err := os.Stat(f.blob(b)); err == nil {
		return nil, true, nil
	}
	entries, err := os.ReadDir(f.upload(b))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, media.ErrNotFound
	}
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil { // others are being written
			parts = append(parts, n)
		}
	}
	slices.Sort(parts)
	return parts, false, err
}

// Complete implements media.Store.
func (f *Folder) Complete(ctx context.Context, b *media.Blob) error {
	have, complete, err := f.Have(ctx, b)
	switch {
	case err != nil || complete:
		return err
	case len(have) != b.Parts():
		return media.ErrParts
	}
	to := f.blob(b)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if err := f.join(b, to); err != nil {
		return err
	}
	return os.RemoveAll(f.upload(b))
}

// join writes the parts one after the other, and shows them as a whole.
func (f *Folder) join(b *media.Blob, to string) error {
	out, err := os.CreateTemp(f.upload(b), "whole-*")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	for n := 1; n <= b.Parts(); n++ {
		if err := appendFile(out, f.part(b, n)); err != nil {
			return err
		}
	}
	if err := out.Sync(); err != nil {
		return err
	}
	if err := os.Rename(out.Name(), to); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(to))
}

func appendFile(out io.Writer, name string) error {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(out, in)
	return err
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Drop implements media.Store.
func (f *Folder) Drop(_ context.Context, b *media.Blob) error {
	err := os.Remove(f.blob(b))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(f.upload(b)))
}

// Used implements media.Store.
func (f *Folder) Used(_ context.Context, tenant, owner string) (total int64, err error) {
	for _, kind := range []string{blobs, uploads} {
		entries, err := os.ReadDir(filepath.Join(f.dir, kind, filepath.FromSlash(media.Prefix(tenant, owner))))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		for _, e := range entries {
			if b, err := f.names.Parse(tenant, e.Name()); err == nil {
				total += b.Charge()
			}
		}
	}
	return total, nil
}

// Sweep implements media.Store.
func (f *Folder) Sweep(ctx context.Context, now, uploadsBefore time.Time) (removed int, err error) {
	ended := func(b *media.Blob, _ fs.DirEntry) bool { return now.After(b.Expires) }
	old := func(_ *media.Blob, d fs.DirEntry) bool {
		info, err := d.Info()
		return err == nil && info.ModTime().Before(uploadsBefore)
	}
	n, err1 := f.remove(ctx, blobs, ended)
	m, err2 := f.remove(ctx, uploads, old)
	return n + m, errors.Join(err1, err2)
}

// remove removes what is found under a kind's folder, and fits.
func (f *Folder) remove(ctx context.Context, kind string, fits func(*media.Blob, fs.DirEntry) bool) (removed int, err error) {
	root := filepath.Join(f.dir, kind)
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		rel, _ := filepath.Rel(root, name)
		b, err := f.names.ParseKey(filepath.ToSlash(rel))
		if err != nil {
			return nil // a folder above, or nothing of ours
		}
		if fits(&b, d) {
			removed++
			err = os.RemoveAll(name)
		}
		if d.IsDir() && err == nil {
			err = fs.SkipDir
		}
		return err
	})
	return removed, err
}
