package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/rookery-chat/rookery"

// source is one Go file of the module.
type source struct {
	path   string // from the module's root, with slashes
	folder string
	test   bool
	lines  int
	file   *ast.File
}

// tree returns every Go file of the module.
func tree(t *testing.T) []source {
	t.Helper()
	files, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("only %d files: the tree was not found", len(files))
	}
	return files
}

var parsed = sync.OnceValues(parse)

// parse reads the tree. Folders with a go.mod of their own are other modules.
func parse() ([]source, error) {
	const root = "../.."
	var files []source
	set := token.NewFileSet()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, name)
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			return skip(name, rel)
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(set, rel, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, source{
			path: rel, folder: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"),
			lines: strings.Count(string(text), "\n"), file: file,
		})
		return nil
	})
	return files, err
}

func skip(name, rel string) error {
	base := path.Base(rel)
	if rel != "." && (strings.HasPrefix(base, ".") || base == "node_modules" || base == "testdata" || rel == "bin" || rel == "data") {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil && rel != "." {
		return fs.SkipDir
	}
	return nil
}

// judge returns what is wrong with an import of a folder's file, "" when
// nothing is. used is told which lines of the law were needed.
func judge(folder, imported string, test bool, used func(exception)) string {
	if own, ok := strings.CutPrefix(imported, module+"/"); ok {
		return judgeOwn(folder, own, test, used)
	}
	for driver, folders := range drivers {
		if imported != driver && !strings.HasPrefix(imported, driver+"/") {
			continue
		}
		if slices.Contains(folders, folder) {
			used(exception{from: folder, to: driver})
			return ""
		}
		if excepted(driverExceptions, folder, driver, used) || test && excepted(testDrivers, folder, driver, used) {
			return ""
		}
		return fmt.Sprintf("%s belongs to %s alone", driver, strings.Join(folders, ", "))
	}
	return ""
}

func judgeOwn(folder, own string, test bool, used func(exception)) string {
	switch list, known := allowed[folder]; {
	case own == folder && test:
		return ""
	case strings.HasPrefix(own, "cmd/"):
		return "nothing imports cmd"
	case joiners[folder], test && forTests[own]:
		return ""
	case !known:
		return folder + " is not in the table of internal/lint/law_test.go"
	case slices.Contains(list, own):
		if !test {
			used(exception{from: folder, to: own})
		}
		return ""
	case excepted(exceptions, folder, own, used):
		return ""
	case test && excepted(testExceptions, folder, own, used):
		return ""
	}
	return folder + " may not import " + own
}

func excepted(list []exception, from, to string, used func(exception)) bool {
	for _, e := range list {
		if e.from == from && e.to == to {
			used(e)
			return true
		}
	}
	return false
}

func TestImports(t *testing.T) {
	needed := map[exception]bool{}
	folders := map[string]bool{}
	for _, s := range tree(t) {
		folders[s.folder] = true
		for _, i := range s.file.Imports {
			imported, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if fault := judge(s.folder, imported, s.test, func(e exception) { needed[e] = true }); fault != "" {
				t.Errorf("%s: %s", s.path, fault)
			}
		}
	}
	for folder, list := range allowed {
		if !folders[folder] {
			t.Errorf("the table has %s, which does not exist", folder)
		}
		for _, own := range list {
			if !needed[exception{from: folder, to: own}] {
				t.Errorf("%s does not need %s any more", folder, own)
			}
		}
	}
	for driver, list := range drivers {
		for _, folder := range list {
			if !needed[exception{from: folder, to: driver}] {
				t.Errorf("%s does not need %s any more", folder, driver)
			}
		}
	}
	for _, e := range slices.Concat(exceptions, testExceptions, driverExceptions, testDrivers) {
		if !needed[e] {
			t.Errorf("nothing needs the exception %s → %s any more", e.from, e.to)
		}
		if e.reason == "" {
			t.Errorf("the exception %s → %s has no reason", e.from, e.to)
		}
	}
}

// TestTheLawBites holds that what must be refused is.
func TestTheLawBites(t *testing.T) {
	const own = module + "/"
	for _, c := range []struct {
		folder, imported string
		test, good       bool
	}{
		{"chat", own + "packet", false, false},
		{"engine", own + "chat", false, false},
		{"frame", own + "engine", false, false},
		{"packet", own + "chat", false, true},
		{"packet", own + "frame", true, false},
		{"internal/gateway", own + "engine", false, true},
		{"internal/gateway", own + "shard", false, false},
		{"internal/gateway", own + "shard", true, false},
		{"internal/gateway", "github.com/panjf2000/gnet/v2", false, false},
		{"internal/gateway", "github.com/prometheus/client_golang/prometheus", false, false},
		{"engine", "github.com/panjf2000/gnet/v2", false, true},
		{"storage/pebble", "github.com/cockroachdb/pebble/v2/vfs", false, true},
		{"shard", "github.com/cockroachdb/pebble/v2", false, false},
		{"storage/pebble", own + "storage/storagetest", true, true},
		{"storage/pebble", own + "storage/storagetest", false, false},
		{"internal/new", own + "chat", false, false},
		{"internal/new", "fmt", false, true},
		{"internal/server", own + "storage/pebble", false, true},
		{"internal/cli", own + "cmd/rookery", false, false},
		{"chat", own + "chat", true, true},
		{"shard", own + "internal/services", true, true},
		{"shard", own + "internal/services", false, false},
	} {
		fault := judge(c.folder, c.imported, c.test, func(exception) {})
		if (fault == "") != c.good {
			t.Errorf("%s imports %s (test: %v): %q", c.folder, c.imported, c.test, fault)
		}
	}
}

var generated = regexp.MustCompile(`^// Code generated .* DO NOT EDIT\.$`)

func (s *source) generated() bool {
	for _, group := range s.file.Comments {
		for _, c := range group.List {
			if generated.MatchString(c.Text) {
				return true
			}
		}
	}
	return false
}

func TestFileLength(t *testing.T) {
	for _, s := range tree(t) {
		if s.lines > maxLines && !s.test && !s.generated() {
			t.Errorf("%s has %d lines, at most %d may be: it is about more than one thing", s.path, s.lines, maxLines)
		}
	}
}

func TestNames(t *testing.T) {
	for _, s := range tree(t) {
		for _, bad := range badNames {
			if path.Base(s.folder) == bad || s.file.Name.Name == bad {
				t.Errorf("%s: a folder named %s says nothing about what is in it", s.path, bad)
			}
		}
	}
}

var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)

func TestNothingUnfinished(t *testing.T) {
	for _, s := range tree(t) {
		for _, group := range s.file.Comments {
			if word := unfinished.FindString(group.Text()); word != "" {
				t.Errorf("%s: a comment says %s: do it, or file it", s.path, word)
			}
		}
	}
}
