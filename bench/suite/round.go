package suite

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/rookery-chat/rookery/bench"
)

// Names in the folder of a run.
const (
	roundsFile  = "rounds.jsonl"
	headFile    = "run.json"
	SummaryFile = "summary.json"
)

// Round is one round of a step, a line of the folder: what the bench found, raw
// histograms too.
type Round struct {
	Step    string  `json:"step"`
	Round   int     `json:"round"`   // from 1
	Attempt int     `json:"attempt"` // from 1
	TookS   float64 `json:"took_s"`
	Error   string  `json:"error,omitempty"` // it measured nothing
	*bench.Result
}

// bad says why the round is not to be believed.
func (r *Round) bad() (why []string) {
	if r.Error != "" {
		return []string{r.Error}
	}
	why = append(append(why, r.Noisy...), r.Invalid...)
	for i := range r.Echo {
		for _, w := range r.Echo[i].Noisy {
			why = append(why, fmt.Sprintf("depth %d: %s", r.Echo[i].Depth, w))
		}
	}
	return why
}

// badAt reports it of the i-th depth of an echo: a load that is the limit at one
// may not be at another.
func (r *Round) badAt(i int) bool {
	return len(r.Noisy)+len(r.Echo[i].Noisy)+len(r.Echo[i].Invalid) > 0
}

// Head is what a folder is of: only the same program and the same plan may go
// on with it.
type Head struct {
	Plan    string        `json:"plan"`
	Began   time.Time     `json:"began"`
	Machine bench.Machine `json:"machine"`
}

// folder is a run on disk.
type folder struct {
	dir    string
	head   Head
	rounds []Round
}

// open takes a folder up where it was, or makes it.
func open(dir, plan, version string) (*folder, error) {
	f := &folder{dir: dir, head: Head{Plan: plan, Began: time.Now().UTC(), Machine: bench.Fingerprint(version)}}
	was, err := read(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return nil, err
		}
		return f, f.write(headFile, f.head)
	}
	if err != nil {
		return nil, err
	}
	if was.head.Plan != plan || was.head.Machine.Binary != f.head.Machine.Binary {
		return nil, fmt.Errorf("suite: %s is a %s run of another program (%s): take another folder, or remove it", dir, was.head.Plan, was.head.Machine.Version)
	}
	return was, was.trim()
}

// read reads a folder. A last line that was cut short is left out.
func read(dir string) (*folder, error) {
	f := &folder{dir: dir}
	b, err := os.ReadFile(filepath.Join(dir, headFile))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &f.head); err != nil {
		return nil, fmt.Errorf("suite: %s: %w", filepath.Join(dir, headFile), err)
	}
	b, err = os.ReadFile(filepath.Join(dir, roundsFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	b = b[:bytes.LastIndexByte(b, '\n')+1]
	for n, line := range bytes.SplitAfter(b, []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		var r Round
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("suite: %s:%d: %w", filepath.Join(dir, roundsFile), n+1, err)
		}
		f.rounds = append(f.rounds, r)
	}
	return f, nil
}

// trim removes a line that was cut short, so that the next does not follow it.
func (f *folder) trim() error {
	path := filepath.Join(f.dir, roundsFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Truncate(path, int64(bytes.LastIndexByte(b, '\n')+1))
}

// add keeps a round, synced: what was measured is not measured again.
func (f *folder) add(r Round) error {
	out, err := os.OpenFile(filepath.Join(f.dir, roundsFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(out)
	err = errors.Join(json.NewEncoder(w).Encode(r), w.Flush(), out.Sync(), out.Close())
	f.rounds = append(f.rounds, r)
	return err
}

// write writes a file of JSON whole.
func (f *folder) write(name string, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	path := filepath.Join(f.dir, name)
	return errors.Join(os.WriteFile(path+".new", append(b, '\n'), 0o666), os.Rename(path+".new", path))
}
