package local

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// metaName is the file that says which log this is. It is text: what an
// operator has to compare by eye, then a checksum of the lines before it.
const metaName = "META"

const metaFormat = "rookery log, format 1\nidentity %s\npartitions %d\nepoch %d\n"

type meta struct {
	identity   [16]byte
	partitions int
	epoch      uint16
}

func (m meta) encode() []byte {
	body := fmt.Sprintf(metaFormat, hex.EncodeToString(m.identity[:]), m.partitions, m.epoch)
	return fmt.Appendf([]byte(body), "crc32c %08x\n", crc32.Checksum([]byte(body), castagnoli))
}

func decodeMeta(b []byte) (m meta, err error) {
	var identity string
	if _, err := fmt.Sscanf(string(b), metaFormat, &identity, &m.partitions, &m.epoch); err != nil {
		return m, fmt.Errorf("it does not read as %q: %w", metaFormat, err)
	}
	if n, err := hex.Decode(m.identity[:], []byte(identity[:min(len(identity), 32)])); err != nil || n != 16 {
		return m, fmt.Errorf("%q is no identity", identity)
	}
	if m.partitions < 1 || m.partitions > MaxPartitions {
		return m, fmt.Errorf("%d partitions", m.partitions)
	}
	if string(m.encode()) != string(b) {
		return m, errors.New("checksum mismatch")
	}
	return m, nil
}

// readMeta returns found == false when there is no such file.
func readMeta(fs vfs.FS, dir string) (m meta, found bool, err error) {
	name := fs.PathJoin(dir, metaName)
	f, err := fs.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return m, false, nil
	}
	if err != nil {
		return m, false, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, alignBytes))
	if err != nil {
		return m, false, err
	}
	if m, err = decodeMeta(b); err != nil {
		return m, false, fmt.Errorf("%w: %s: %w", ErrCorrupt, name, err)
	}
	return m, true, nil
}

// writeMeta replaces the file, durably before it returns: after a power cut
// there is the old one or the new one.
func writeMeta(fs vfs.FS, dir string, m meta) error {
	name := fs.PathJoin(dir, metaName)
	f, err := fs.Create(name+tempSuffix, diskCategory)
	if err != nil {
		return err
	}
	_, err = f.Write(m.encode())
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fs.Rename(name+tempSuffix, name); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
