package e2ee

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"filippo.io/age"
)

// The key file begins with a head and goes on with commits, each written and
// synced before what depends on it leaves this device:
//
//	4  magic "RkV1"
//	1  1: sealed with a passphrase, 0: open
//	4  length of what follows, big-endian
//	   an age identity, inside an age file for a passphrase (scrypt) where sealed
//
//	4  magic "RkVc"
//	4  length of what follows, big-endian
//	   an age file for that identity: records
//
// The identity's public half is as secret as the rest, so that nobody else can write a commit either.
const (
	vaultMagic  = "RkV1"
	commitMagic = "RkVc"
	headBytes   = len(vaultMagic) + 1 + 4
	commitHead  = len(commitMagic) + 4

	maxHead = 64 << 10
)

// keyFile is a vault's storage in a sealed file.
type keyFile struct {
	path    string
	secret  *age.X25519Identity
	head    []byte
	commits [][]byte // until Load
	file    *os.File
	size    int64
}

// openKeyFile opens or makes a file.
func openKeyFile(path, passphrase string, work int) (*keyFile, error) {
	f := &keyFile{path: path}
	if err := f.open(passphrase, work); err != nil {
		if f.file != nil {
			f.file.Close()
		}
		return nil, err
	}
	return f, nil
}

// Load returns what was read when it was opened.
func (v *keyFile) Load() ([][]byte, error) {
	commits := v.commits
	v.commits = nil
	return commits, nil
}

func (v *keyFile) open(passphrase string, work int) error {
	err := os.MkdirAll(filepath.Dir(v.path), 0o700)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(v.path)
	if errors.Is(err, os.ErrNotExist) {
		return v.make(passphrase, work)
	}
	if err != nil {
		return err
	}
	secret, used, err := openHead(b, vaultMagic, passphrase)
	if err != nil {
		return err
	}
	if v.secret, err = age.ParseX25519Identity(string(secret)); err != nil {
		return fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	v.head = b[:used]
	end, err := v.load(b, used)
	if err != nil {
		return err
	}
	if v.file, err = os.OpenFile(v.path, os.O_RDWR, 0o600); err != nil {
		return err
	}
	v.size = int64(end)
	return errors.Join(v.file.Truncate(v.size), v.file.Sync())
}

func (v *keyFile) make(passphrase string, work int) (err error) {
	if v.secret, err = age.GenerateX25519Identity(); err != nil {
		return err
	}
	if v.head, err = sealHead(vaultMagic, []byte(v.secret.String()), passphrase, work); err != nil {
		return err
	}
	return v.Replace(nil)
}

// load reads the commits and returns where the good ones end. What follows is a
// torn tail, unless a good commit comes after it: then the file is damaged.
func (v *keyFile) load(b []byte, at int) (end int, err error) {
	for {
		records, n := v.commitAt(b[at:])
		if n == 0 {
			break
		}
		v.commits = append(v.commits, records)
		at += n
	}
	for from := at + 1; from < len(b); from++ {
		i := bytes.Index(b[from:], []byte(commitMagic))
		if i < 0 {
			break
		}
		from += i
		if _, n := v.commitAt(b[from:]); n > 0 {
			return 0, fmt.Errorf("%w: byte %d, with good data at byte %d", ErrDamaged, at, from)
		}
	}
	return at, nil
}

// commitAt opens the commit that b begins with; n is 0 when it begins with none.
func (v *keyFile) commitAt(b []byte) (records []byte, n int) {
	if len(b) < commitHead || string(b[:len(commitMagic)]) != commitMagic {
		return nil, 0
	}
	size := uint64(binary.BigEndian.Uint32(b[len(commitMagic):]))
	if size > uint64(len(b)-commitHead) {
		return nil, 0
	}
	r, err := age.Decrypt(bytes.NewReader(b[commitHead:commitHead+int(size)]), v.secret)
	if err != nil {
		return nil, 0
	}
	records, err = io.ReadAll(r)
	if err != nil {
		return nil, 0
	}
	return records, commitHead + int(size)
}

// Extend appends a commit.
func (v *keyFile) Extend(records []byte) error {
	b, err := v.commit(records)
	if err != nil {
		return err
	}
	if _, err := v.file.WriteAt(b, v.size); err != nil {
		return err
	}
	v.size += int64(len(b))
	return v.file.Sync()
}

func (v *keyFile) commit(records []byte) ([]byte, error) {
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, v.secret.Recipient())
	if err == nil {
		_, err = w.Write(records)
	}
	if err == nil {
		err = w.Close()
	}
	b := binary.BigEndian.AppendUint32([]byte(commitMagic), uint32(sealed.Len()))
	return append(b, sealed.Bytes()...), err
}

// Replace puts a file with one commit in the place of the one there is, at once.
func (v *keyFile) Replace(records []byte) error {
	b, err := v.commit(records)
	if err != nil {
		return err
	}
	f, err := replaceFile(v.path, append(v.head[:len(v.head):len(v.head)], b...))
	if err != nil {
		return err
	}
	if v.file != nil {
		v.file.Close()
	}
	v.file, v.size = f, int64(len(v.head)+len(b))
	return nil
}

// replaceFile writes a file beside another and renames it over that.
func replaceFile(path string, b []byte) (*os.File, error) {
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close closes the file.
func (v *keyFile) Close() error { return v.file.Close() }

// sealHead makes the head of a file that holds a secret.
func sealHead(magic string, secret []byte, passphrase string, work int) ([]byte, error) {
	sealed := secret
	mode := byte(0)
	if passphrase != "" {
		r, err := age.NewScryptRecipient(passphrase)
		if err != nil {
			return nil, err
		}
		if work > 0 {
			r.SetWorkFactor(work)
		}
		var b bytes.Buffer
		w, err := age.Encrypt(&b, r)
		if err == nil {
			_, err = w.Write(secret)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			return nil, err
		}
		sealed, mode = b.Bytes(), 1
	}
	head := append([]byte(magic), mode)
	return append(binary.BigEndian.AppendUint32(head, uint32(len(sealed))), sealed...), nil
}

// openHead reads it, and returns how long it is.
func openHead(b []byte, magic, passphrase string) (secret []byte, used int, err error) {
	if len(b) < headBytes || string(b[:len(magic)]) != magic || b[len(magic)] > 1 {
		return nil, 0, fmt.Errorf("%w: it does not begin like one", ErrDamaged)
	}
	size := uint64(binary.BigEndian.Uint32(b[len(magic)+1:]))
	if size > maxHead || size > uint64(len(b)-headBytes) {
		return nil, 0, fmt.Errorf("%w: its head is cut off", ErrDamaged)
	}
	used = headBytes + int(size)
	if secret = b[headBytes:used]; b[len(magic)] == 0 {
		return secret, used, nil
	}
	if passphrase == "" {
		return nil, 0, ErrPassphrase
	}
	id, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, 0, err
	}
	r, err := age.Decrypt(bytes.NewReader(secret), id)
	var wrong *age.NoIdentityMatchError
	if errors.As(err, &wrong) {
		return nil, 0, ErrPassphrase
	}
	if err == nil {
		secret, err = io.ReadAll(r)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	return secret, used, nil
}
