package e2ee

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

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
// A record is a kind, a key and a value: 's' sets, 'a' appends, 'd' deletes; key
// and value stand behind their lengths, of 2 and 4 bytes. The identity's public
// half is as secret as the rest, so that nobody else can write a commit either.
const (
	vaultMagic  = "RkV1"
	commitMagic = "RkVc"
	headBytes   = len(vaultMagic) + 1 + 4
	commitHead  = len(commitMagic) + 4

	vaultCompact = 256 << 10 // size from which the file is written anew, once it is four times what is in it
	maxHead      = 64 << 10
)

// ErrPassphrase says that a passphrase does not open a file.
var ErrPassphrase = errors.New("e2ee: wrong passphrase, or none for a file that is sealed")

// ErrDamaged says that a key file's bytes do not hold.
var ErrDamaged = errors.New("e2ee: the key file is damaged")

// vault is a map that lives in a sealed file, or in memory where it has no path.
type vault struct {
	path   string
	secret *age.X25519Identity
	head   []byte

	mu      sync.Mutex
	rows    map[string][]byte
	live    int64  // bytes of rows, about
	pending []byte // records not written yet

	syncMu sync.Mutex // one writer at a time; taken before mu
	file   *os.File
	size   int64
	failed error // sticky
}

// openVault opens or makes a file. work is the scrypt work factor of a new one,
// 0 for age's default.
func openVault(path, passphrase string, work int) (*vault, error) {
	v := &vault{path: path, rows: map[string][]byte{}}
	if path == "" {
		return v, nil
	}
	if err := v.open(passphrase, work); err != nil {
		if v.file != nil {
			v.file.Close()
		}
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return v, nil
}

func (v *vault) open(passphrase string, work int) error {
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

func (v *vault) make(passphrase string, work int) (err error) {
	if v.secret, err = age.GenerateX25519Identity(); err != nil {
		return err
	}
	if v.head, err = sealHead(vaultMagic, []byte(v.secret.String()), passphrase, work); err != nil {
		return err
	}
	return v.rewrite()
}

// load reads the commits and returns where the good ones end. What follows is a
// torn tail, unless a good commit comes after it: then the file is damaged.
func (v *vault) load(b []byte, at int) (end int, err error) {
	for {
		records, n := v.commitAt(b[at:])
		if n == 0 {
			break
		}
		if err := v.apply(records); err != nil {
			return 0, err
		}
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
func (v *vault) commitAt(b []byte) (records []byte, n int) {
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

func (v *vault) apply(records []byte) error {
	for len(records) > 0 {
		kind, key, value, rest, ok := cutRecord(records)
		if !ok {
			return fmt.Errorf("%w: a record is cut off", ErrDamaged)
		}
		v.change(kind, key, value)
		records = rest
	}
	return nil
}

// cutRecord takes the first record off. value lies in b.
func cutRecord(b []byte) (kind byte, key string, value, rest []byte, ok bool) {
	if len(b) < 3 {
		return 0, "", nil, nil, false
	}
	kind = b[0]
	n := int(binary.BigEndian.Uint16(b[1:]))
	if b = b[3:]; len(b) < n+4 {
		return 0, "", nil, nil, false
	}
	key = string(b[:n])
	size := uint64(binary.BigEndian.Uint32(b[n:]))
	if b = b[n+4:]; size > uint64(len(b)) || kind != 's' && kind != 'a' && kind != 'd' {
		return 0, "", nil, nil, false
	}
	return kind, key, b[:size], b[size:], true
}

func appendRecord(dst []byte, kind byte, key string, value []byte) []byte {
	dst = binary.BigEndian.AppendUint16(append(dst, kind), uint16(len(key)))
	dst = binary.BigEndian.AppendUint32(append(dst, key...), uint32(len(value)))
	return append(dst, value...)
}

// change changes the rows. A row's bytes are never written over, so that who
// holds them may go on.
func (v *vault) change(kind byte, key string, value []byte) {
	old := v.rows[key]
	switch kind {
	case 's':
		v.live += int64(len(key) + len(value) - len(old))
		v.rows[key] = bytes.Clone(value)
	case 'a':
		v.live += int64(len(value))
		v.rows[key] = append(old[:len(old):len(old)], value...)
	case 'd':
		v.live -= int64(len(key) + len(old))
		delete(v.rows, key)
	}
}

func (v *vault) put(kind byte, key string, value []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.change(kind, key, value)
	if v.path != "" {
		v.pending = appendRecord(v.pending, kind, key, value)
	}
}

func (v *vault) set(key string, value []byte)  { v.put('s', key, value) }
func (v *vault) add(key string, value []byte)  { v.put('a', key, value) }
func (v *vault) drop(key string)               { v.put('d', key, nil) }
func (v *vault) get(key string) (value []byte) { v.mu.Lock(); defer v.mu.Unlock(); return v.rows[key] }

// keys returns the keys that begin with a prefix, in order.
func (v *vault) keys(prefix string) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var found []string
	for k := range v.rows {
		if strings.HasPrefix(k, prefix) {
			found = append(found, k)
		}
	}
	slices.Sort(found)
	return found
}

// sync makes everything put so far durable.
func (v *vault) sync() error {
	if v.path == "" {
		return nil
	}
	v.syncMu.Lock()
	defer v.syncMu.Unlock()
	if v.failed != nil {
		return v.failed
	}
	v.mu.Lock()
	records := v.pending
	v.pending = nil
	whole := v.size > vaultCompact && v.size > 4*v.live
	v.mu.Unlock()
	if len(records) == 0 {
		return nil
	}
	var err error
	if whole {
		err = v.rewrite()
	} else {
		err = v.extend(records)
	}
	if err != nil {
		v.failed = fmt.Errorf("key file %s: %w; nothing more is encrypted, as it could not be kept", v.path, err)
	}
	return v.failed
}

func (v *vault) extend(records []byte) error {
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

func (v *vault) commit(records []byte) ([]byte, error) {
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

// rewrite puts a file with all rows in one commit in the place of the one there
// is, at once.
func (v *vault) rewrite() error {
	v.mu.Lock()
	var records []byte
	for _, k := range slices.Sorted(maps.Keys(v.rows)) {
		records = appendRecord(records, 's', k, v.rows[k])
	}
	v.mu.Unlock()
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

func (v *vault) close() error {
	if v.path == "" {
		return nil
	}
	err := v.sync()
	v.syncMu.Lock()
	defer v.syncMu.Unlock()
	if v.failed == nil {
		v.failed = errors.New("e2ee: closed")
	}
	return errors.Join(err, v.file.Close())
}

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
