package e2ee

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// ErrPassphrase says that a passphrase does not open a file.
var ErrPassphrase = errors.New("e2ee: wrong passphrase, or none for a file that is sealed")

// ErrDamaged says that a key file's bytes do not hold.
var ErrDamaged = errors.New("e2ee: the key file is damaged")

// vaultCompact is the size from which the rows are written anew, once what is
// kept is four times what is in it.
const vaultCompact = 256 << 10

// Storage keeps commits, sealed: a file, or what a browser has.
type Storage interface {
	// Load returns the records of all commits, in order.
	Load() ([][]byte, error)
	// Extend adds a commit, Replace puts one in the place of all. What they
	// return of is durable.
	Extend(records []byte) error
	Replace(records []byte) error
	Close() error
}

// vault is a map that lives in a storage, or in memory where it has none.
//
// A record is a kind, a key and a value: 's' sets, 'a' appends, 'd' deletes; key
// and value stand behind their lengths, of 2 and 4 bytes.
type vault struct {
	storage Storage

	mu      sync.Mutex
	rows    map[string][]byte
	live    int64  // bytes of rows, about
	pending []byte // records not written yet

	syncMu sync.Mutex // one writer at a time; taken before mu
	size   int64      // of the records that are kept
	failed error      // sticky
}

// openVault opens or makes a key file. work is the scrypt work factor of a new
// one, 0 for age's default.
func openVault(path, passphrase string, work int) (*vault, error) {
	if path == "" {
		return &vault{rows: map[string][]byte{}}, nil
	}
	f, err := openKeyFile(path, passphrase, work)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return loadVault(f)
}

func loadVault(s Storage) (*vault, error) {
	v := &vault{storage: s, rows: map[string][]byte{}}
	commits, err := s.Load()
	for _, records := range commits {
		if err == nil {
			err = v.apply(records)
			v.size += int64(len(records))
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return v, nil
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
	if v.storage != nil {
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
	if v.storage == nil {
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
		records = v.whole()
		v.size = 0
		err = v.storage.Replace(records)
	} else {
		err = v.storage.Extend(records)
	}
	v.size += int64(len(records))
	if err != nil {
		v.failed = fmt.Errorf("%w; nothing more is encrypted, as it could not be kept", err)
	}
	return v.failed
}

// whole is all rows as records.
func (v *vault) whole() (records []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(v.rows)) {
		records = appendRecord(records, 's', k, v.rows[k])
	}
	return records
}

func (v *vault) close() error {
	if v.storage == nil {
		return nil
	}
	err := v.sync()
	v.syncMu.Lock()
	defer v.syncMu.Unlock()
	if v.failed == nil {
		v.failed = errors.New("e2ee: closed")
	}
	return errors.Join(err, v.storage.Close())
}
