package client

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// compactBytes is the size from which a state file is written anew, once less
// than a quarter of it is of use.
const compactBytes = 1 << 20

// journal keeps the state of one client in a file, or in memory when it has no
// path. Records are appended to a buffer; sync writes what is there as one
// commit, so that many callers share one sync of the file.
//
// Lock order: syncMu, then mu.
type journal struct {
	path     string
	fsync    func(*os.File) error // (*os.File).Sync, but for tests
	initial  state                // as it was opened; set once
	synced   atomic.Uint64        // the sequence up to which records are durable
	appended atomic.Uint64        // the sequence of the last record appended

	mu      sync.Mutex
	live    state  // everything appended applied
	pending []byte // records appended and not written

	syncMu sync.Mutex // one writer at a time; guards what follows
	file   *os.File
	size   int64
	spare  []byte
	failed error // sticky: after a failed sync nothing is known of the file
	closed bool
}

// openJournal opens or makes the state file of a user's device and takes it for
// this process.
func openJournal(path, user, device string) (*journal, error) {
	j := &journal{path: path, fsync: (*os.File).Sync}
	fresh := state{user: user, device: device, seq: uint16(rand.IntN(chat.MaxClockSeq + 1))}
	if path == "" {
		j.live, j.initial = fresh, fresh
		return j, nil
	}
	if err := j.open(fresh); err != nil {
		if j.file != nil {
			j.file.Close()
		}
		return nil, fmt.Errorf("%w %s: %w", ErrState, path, err)
	}
	return j, nil
}

// Unsent returns how many messages wait in the outbox of a state file: the server
// had not accepted them when the process that had it ended, or has not yet. It reads
// the file as it lies, whoever has it; where there is none nothing waits.
func Unsent(path string) (n int, err error) {
	s, _, _, err := readState(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("%w %s: %w", ErrState, path, err)
	}
	return len(s.outbox), nil
}

// readState reads a file of size bytes, of which the first used are good. One that was
// only just made is empty.
func readState(path string) (s state, used, size int, err error) {
	b, err := os.ReadFile(path)
	if err != nil || len(b) == 0 {
		return state{}, 0, 0, err
	}
	if s, used, err = decodeState(b); err != nil {
		err = fmt.Errorf("%w; move it away to start anew (messages still in its outbox are lost with it)", err)
	}
	return s, used, len(b), err
}

func (j *journal) open(fresh state) error {
	if err := os.MkdirAll(filepath.Dir(j.path), 0o700); err != nil {
		return err
	}
	var err error
	if j.file, err = openLocked(j.path); err != nil {
		return err
	}
	s, used, size, err := readState(j.path)
	if err != nil {
		return err
	}
	if size == 0 {
		j.live, j.initial = fresh, fresh
		return j.rewrite(fresh.appendRecords(nil))
	}
	if s.user != fresh.user || s.device != fresh.device {
		return fmt.Errorf("it belongs to user %q, device %q: give each device a state file of its own", s.user, s.device)
	}
	j.live, j.initial, j.size = s, s, int64(used)
	j.initial.outbox = append([]stored(nil), s.outbox...)
	if used < size {
		return errors.Join(j.file.Truncate(j.size), j.file.Sync())
	}
	return nil
}

// openLocked opens a file and locks it, and makes sure that the name still
// means that file: compaction puts another in its place.
func openLocked(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := lockFile(f); err != nil {
			f.Close()
			return nil, fmt.Errorf("%w (%w)", ErrInUse, err)
		}
		ours, err1 := f.Stat()
		named, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(ours, named) {
			return f, nil
		}
		f.Close()
		if err := errors.Join(err1, err2); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
}

// put adds a message to the outbox: body is its Send packet.
func (j *journal) put(id chat.ID, body []byte) (seq uint64) {
	return j.append(recPut, body, func(s *state) {
		s.outbox = append(s.outbox, stored{id: id, body: body})
		s.ticks = max(s.ticks, id.Ticks())
	})
}

// drop takes a message out of the outbox. It need not be synced: a message that
// comes back after a crash is sent again as a retry, which changes nothing.
func (j *journal) drop(id chat.ID) {
	j.append(recDrop, id[:], func(s *state) { s.drop(id) })
}

// setCursor says how far the app has handled its chain, and the newest id seen.
func (j *journal) setCursor(pos chat.Position, ticks uint64) (seq uint64) {
	s := state{cursor: pos, ticks: ticks}
	return j.append(recCursor, s.cursorBody(), func(s *state) {
		s.cursor, s.hasCursor, s.ticks = pos, true, max(s.ticks, ticks)
	})
}

// setNode says what node the server gave this device, and how its clock differs.
func (j *journal) setNode(node chat.Node, offset time.Duration) {
	s := state{node: node, offset: offset}
	j.append(recNode, s.nodeBody(), func(s *state) { s.node, s.offset = node, offset })
}

func (j *journal) append(kind byte, body []byte, apply func(*state)) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	seq := j.appended.Add(1)
	if j.path == "" {
		j.synced.Store(seq)
		return seq
	}
	apply(&j.live)
	j.pending = appendRecord(j.pending, kind, body)
	return seq
}

// sync returns when everything up to a sequence is durable, or cannot be.
func (j *journal) sync(seq uint64) error {
	if j.synced.Load() >= seq {
		return nil
	}
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	if j.synced.Load() >= seq || j.failed != nil {
		return j.failed
	}
	if err := j.commit(); err != nil {
		j.failed = fmt.Errorf("%w %s: %w; nothing more is sent, as it could not be kept", ErrState, j.path, err)
	}
	return j.failed
}

// commit writes all that is pending, as one commit or in a file made anew.
func (j *journal) commit() error {
	j.mu.Lock()
	records, upTo := j.pending, j.appended.Load()
	j.pending = j.spare[:0]
	var whole []byte
	size := j.size + int64(len(records)) + commitHeaderBytes
	if size > compactBytes && size > 4*j.live.bytes() {
		whole = j.live.appendRecords(nil)
	}
	j.mu.Unlock()
	j.spare = records
	if whole != nil {
		if err := j.rewrite(whole); err != nil {
			return err
		}
	} else if err := j.extend(records); err != nil {
		return err
	}
	j.synced.Store(upTo)
	return nil
}

func (j *journal) extend(records []byte) error {
	b := appendCommit(nil, records)
	if _, err := j.file.WriteAt(b, j.size); err != nil {
		return err
	}
	if err := j.fsync(j.file); err != nil {
		return err
	}
	j.size += int64(len(b))
	return nil
}

// rewrite puts a file of one commit in the place of the one there is, at once.
// It may stop at any point without harm; the holder of the lock alone is here.
func (j *journal) rewrite(records []byte) error {
	b := appendCommit(nil, records)
	f, err := os.OpenFile(j.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, j.fsync(f), lockFile(f)); err == nil {
		err = os.Rename(f.Name(), j.path)
	}
	if err != nil {
		f.Close()
		return err
	}
	j.file.Close()
	j.file, j.size = f, int64(len(b))
	return syncFolder(filepath.Dir(j.path))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// close makes everything durable and gives the file back.
func (j *journal) close() error {
	if j.path == "" {
		return nil
	}
	err := j.sync(j.appended.Load())
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	if j.closed {
		return nil
	}
	j.closed = true
	if j.failed == nil {
		j.failed = ErrClosed
	}
	return errors.Join(err, j.file.Close())
}
