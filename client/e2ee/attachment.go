package e2ee

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/bits"

	"filippo.io/age"
)

// Attachment is what a message says of a file that lies elsewhere, encrypted:
// whoever has it can read the file, so it travels inside messages only.
type Attachment struct {
	Key    string `json:"key"`    // an age identity, of this file alone
	Digest []byte `json:"digest"` // SHA-256 of the encrypted bytes
	Size   int64  `json:"size"`   // of the file, without padding
}

// ErrAttachment says that bytes are not those the attachment names.
var ErrAttachment = errors.New("e2ee: the attachment's bytes are not those that were sent")

// EncryptAttachment reads a file of size bytes and writes it as an age file for
// a key of its own. With pad its length tells little: it is filled up to one of
// few sizes, by a ninth at most.
func EncryptAttachment(dst io.Writer, src io.Reader, size int64, pad bool) (Attachment, error) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return Attachment{}, err
	}
	digest := sha256.New()
	w, err := age.Encrypt(io.MultiWriter(dst, digest), key.Recipient())
	if err != nil {
		return Attachment{}, err
	}
	n, err := io.Copy(w, io.LimitReader(src, size+1))
	if err == nil && n != size {
		err = fmt.Errorf("e2ee: the file has not %d bytes, as was said", size)
	}
	if err == nil && pad {
		_, err = io.CopyN(w, zeros{}, padded(size)-size)
	}
	if err == nil {
		err = w.Close()
	}
	return Attachment{Key: key.String(), Digest: digest.Sum(nil), Size: size}, err
}

// DecryptAttachment writes the file. What it has written counts only when it
// returns nil: bytes that were cut off or changed are found at the latest then.
func DecryptAttachment(dst io.Writer, src io.Reader, a Attachment) error {
	key, err := age.ParseX25519Identity(a.Key)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrAttachment, err)
	}
	digest := &digesting{src: src, hash: sha256.New()}
	r, err := age.Decrypt(digest, key)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrAttachment, err)
	}
	if _, err := io.CopyN(dst, r, a.Size); err != nil {
		return fmt.Errorf("%w: %w", ErrAttachment, err)
	}
	if n, err := io.Copy(io.Discard, r); err != nil || n > padded(a.Size)-a.Size {
		return fmt.Errorf("%w: %d bytes too many: %v", ErrAttachment, n, err)
	}
	if _, err := io.Copy(io.Discard, digest); err != nil {
		return err
	}
	if !bytes.Equal(digest.hash.Sum(nil), a.Digest) {
		return fmt.Errorf("%w: another digest", ErrAttachment)
	}
	return nil
}

// padded is the size a file is filled up to: the padmé rule (Nikitin et al.,
// PETS 2019), which leaves log log n bits of the length to be seen.
func padded(size int64) int64 {
	if size < 2 {
		return size
	}
	e := bits.Len64(uint64(size)) - 1
	s := bits.Len(uint(e))
	mask := int64(1)<<max(e-s, 0) - 1
	return (size + mask) &^ mask
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// digesting hashes what is read through it.
type digesting struct {
	src  io.Reader
	hash hash.Hash
}

func (d *digesting) Read(b []byte) (int, error) {
	n, err := d.src.Read(b)
	d.hash.Write(b[:n])
	return n, err
}
