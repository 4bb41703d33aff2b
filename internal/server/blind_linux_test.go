package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/e2ee"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/services"
)

// The kinds of what people say that nobody in between may learn.
var secretKinds = []string{"text", "name of a file", "thumbnail", "picture", "name of a group", "picture of a group"}

// TestBlindness sends texts, a picture, and a group with a name and a picture of
// its own through everything, and looks for them in every byte that everything keeps, says or sends: none is found where
// they go encrypted, as by default. Where they do not, each is found in each
// place where it has to be: so the search is one.
func TestBlindness(t *testing.T) {
	for _, back := range []string{"embedded", "cluster"} {
		for _, encrypted := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, encrypted %v", back, encrypted), func(t *testing.T) {
				h := newHunt(t, encrypted)
				if back == "embedded" {
					h.embedded()
				} else {
					h.cluster()
				}
			})
		}
	}
}

// hunt is one life of some servers, and the search behind it.
type hunt struct {
	t         *testing.T
	encrypted bool
	dir       string // of those who talk
	secrets   map[string]string
	patterns  map[string]string // what is searched, and which kind it is
	longest   int
	user      string // a name that servers may know
	log       logged
	wire      *capture
	gateways  map[uint16]bool
}

// logged is what servers log.
type logged struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func newHunt(t *testing.T, encrypted bool) *hunt {
	h := &hunt{t: t, encrypted: encrypted, dir: t.TempDir(), secrets: map[string]string{}, patterns: map[string]string{}, gateways: map[uint16]bool{}}
	// Random, so that no compression makes something else of it.
	for _, kind := range secretKinds {
		h.secrets[kind] = random(24)
		for _, p := range disguises(h.secrets[kind]) {
			h.patterns[p] = kind
			h.longest = max(h.longest, len(p))
		}
	}
	h.user = "alice-" + random(12)
	return h
}

func (h *hunt) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(&h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// look searches a place and says which kinds are in it. known has to be in it,
// which says that it was looked into.
func (h *hunt) look(place string, known string, sources ...io.Reader) (found map[string]bool) {
	h.t.Helper()
	found = map[string]bool{}
	keep := max(h.longest, len(known)) - 1
	window := make([]byte, 1<<20)
	for _, r := range sources {
		for have := 0; ; {
			n, err := r.Read(window[have:])
			if have += n; n > 0 {
				h.mark(window[:have], known, found)
				have = copy(window, window[max(have-keep, 0):have])
			}
			if err == io.EOF {
				break
			}
			must(h.t, err)
		}
	}
	if !found["known"] {
		h.t.Errorf("%s: %q was not found in it, which has to be there", place, known)
	}
	delete(found, "known")
	if h.encrypted && len(found) > 0 {
		h.t.Errorf("%s: found in it: %v", place, found)
	}
	return found
}

func (h *hunt) mark(b []byte, known string, found map[string]bool) {
	if !found["known"] && bytes.Contains(b, []byte(known)) {
		found["known"] = true
	}
	for p, kind := range h.patterns {
		if !found[kind] && bytes.Contains(b, []byte(p)) {
			found[kind] = true
		}
	}
}

// has is look where plaintext has to show some kinds when nothing is encrypted.
func (h *hunt) has(place, known string, kinds []string, sources ...io.Reader) {
	h.t.Helper()
	found := h.look(place, known, sources...)
	for _, kind := range kinds {
		if !h.encrypted && !found[kind] {
			h.t.Errorf("%s: no %s was found in it, although nothing is encrypted", place, kind)
		}
	}
}

// Kinds that messages bring, and those that only blobs do.
var (
	messageKinds = []string{"text", "name of a file", "thumbnail", "name of a group", "picture of a group"}
	blobKinds    = []string{"picture"}
)

// embedded is everything in one process.
func (h *hunt) embedded() {
	dir := h.t.TempDir()
	s := startLogged(h.t, dir, h.logger(), nil)
	h.capture(s)
	h.talk(s, s)
	settle(h.t, s)
	h.metrics(s)
	stopServer(h.t, s)
	h.packets()
	h.has("log", h.user, messageKinds, filesIn(h.t, filepath.Join(dir, "log"))...)
	h.has("store", h.user, messageKinds, filesIn(h.t, filepath.Join(dir, "store"))...)
	h.has("media", "", blobKinds, filesIn(h.t, filepath.Join(dir, "media"))...)
	h.look("data", h.user, filesIn(h.t, dir)...)
	h.look("what is logged", "level=INFO", strings.NewReader(h.log.String()))
}

// cluster is two gateways and a processor on the real servers.
func (h *hunt) cluster() {
	cl := newCluster(h.t)
	cl.logger = h.logger()
	pictures := bucket(h.t)
	secret := filepath.Join(h.t.TempDir(), "secret")
	must(h.t, os.WriteFile(secret, []byte(random(leastSecret)), 0o600))
	change := func(c *config.Config) {
		pictures(c)
		c.Media.Secret = secret
	}
	var media config.Config
	pictures(&media)
	processor := cl.start("processor", change)
	first, second := cl.start("gateway", change), cl.start("gateway", change)
	h.capture(first, second, processor)
	h.talk(first, second)
	for _, s := range []*Server{first, second, processor} {
		h.metrics(s)
	}
	h.redis(cl)
	h.kafkaRecords(cl)
	h.cassandraRows(cl)
	for _, s := range []*Server{first, second, processor} {
		stopServer(h.t, s)
	}
	h.packets()
	h.kafkaFiles(cl)
	h.cassandraFiles(cl)
	name, _, _ := strings.Cut(strings.TrimPrefix(media.Media.URL, "s3://"), "/")
	h.has("objects", "", blobKinds, filesIn(h.t, filepath.Join(services.Folder(h.t, "s3"), "objects", name))...)
	h.look("what is logged", "level=INFO", strings.NewReader(h.log.String()))
}

// capture begins to capture what goes between all that there is.
func (h *hunt) capture(servers ...*Server) {
	ports := map[uint16]bool{}
	add := func(address string) uint16 {
		_, text, err := net.SplitHostPort(address)
		must(h.t, err)
		port, err := strconv.ParseUint(text, 10, 16)
		must(h.t, err)
		ports[uint16(port)] = true
		return uint16(port)
	}
	for _, s := range servers {
		add(s.AdminAddr().String())
		if s.Addr() != nil {
			h.gateways[add(s.Addr().String())] = true
			add(s.WebAddr().String())
		}
		if s.cluster != nil {
			known := services.Get(h.t)
			for _, address := range []string{known.Kafka, known.Cassandra, known.Redis, known.S3} {
				add(address)
			}
			if s.cluster.listener != nil {
				add(s.cluster.listener.Addr().String())
			}
		}
	}
	h.wire = startCapture(h.t, ports)
}

// packets searches what was captured, also as it is without the masks of frames.
func (h *hunt) packets() {
	var all, said []io.Reader
	for f, s := range h.wire.end() {
		all = append(all, bytes.NewReader(s.data))
		if h.gateways[f.to] {
			said = append(said, bytes.NewReader(s.unmasked(h.t)))
		}
	}
	h.has("packets", h.user, secretKinds, all...)
	h.has("frames of clients", "bob", messageKinds, said...)
}

func (h *hunt) metrics(s *Server) {
	r, err := http.Get("http://" + s.AdminAddr().String() + "/metrics")
	must(h.t, err)
	defer r.Body.Close()
	h.look("metrics", "# HELP", r.Body)
}

// talk has alice write to bob, who is there, and to carol, who is not: a text,
// and a picture with a name, a thumbnail and a text; then to a group of them,
// which has a name and a picture.
func (h *hunt) talk(first, second *Server) {
	h.t.Cleanup(http.DefaultClient.CloseIdleConnections)
	path := filepath.Join(h.dir, h.secrets["name of a file"]+".png")
	picture := bytes.Repeat([]byte(h.secrets["picture"]+"\n"), 4000)
	must(h.t, os.WriteFile(path, picture, 0o600))
	alice, bob, carol := h.person(first, h.user), h.person(second, "bob"), h.person(second, "carol")
	carol.close()
	text := "say nobody " + h.secrets["text"]
	for _, to := range []string{"bob", "carol"} {
		alice.say(to, text)
	}
	alice.sendFile("bob", path)
	if got := bob.hear(e2ee.TypeBody); string(got) != text {
		h.t.Fatalf("bob got %q", got)
	}
	var f e2ee.File
	must(h.t, json.Unmarshal(bob.hear(e2ee.TypeFile), &f))
	if f.Name != filepath.Base(path) || string(f.Thumbnail) != h.secrets["thumbnail"] || !bytes.Equal(bob.fetch(f), picture) {
		h.t.Fatalf("bob got the file %+v", f)
	}
	bob.say(h.user, text)
	alice.hear(e2ee.TypeBody)
	alice.history("bob")
	group := alice.makeGroup("bob", "carol")
	bob.learns(group)
	alice.say(group, text)
	bob.say(group, text)
	bob.hear(e2ee.TypeBody)
	alice.hear(e2ee.TypeBody)
	alice.history(group)
	carol = h.person(first, "carol") // who catches up
	carol.hear(e2ee.TypeBody)
	carol.learns(group)
	carol.hear(e2ee.TypeBody)
	carol.hear(e2ee.TypeBody)
}

// person is a device, which encrypts or does not.
type person struct {
	h      *hunt
	plain  *client.Client
	sealed *e2ee.Client
	media  *client.Media
}

func (h *hunt) person(s *Server, user string) *person {
	o := client.Options{
		URL: "ws://" + s.Addr().String(), User: user, Device: "phone", State: filepath.Join(h.dir, user+".state"),
		Token: func(context.Context) (string, error) { return token(h.t, s, user, "phone", time.Hour), nil },
	}
	p := &person{h: h, media: mediaOf(h.t, s, user)}
	var err error
	if h.encrypted {
		p.sealed, err = e2ee.Dial(h.t.Context(), o, e2ee.Options{Keys: filepath.Join(h.dir, user+".keys")})
		must(h.t, err)
		must(h.t, p.sealed.Published(h.t.Context()))
	} else {
		p.plain, err = client.Dial(h.t.Context(), o)
		must(h.t, err)
	}
	h.t.Cleanup(p.close)
	return p
}

func (p *person) close() {
	if p.sealed != nil {
		p.sealed.Close(context.Background())
	} else {
		p.plain.Close(context.Background())
	}
}

func (p *person) durable(sent *client.Sent, err error) {
	p.h.t.Helper()
	must(p.h.t, err)
	must(p.h.t, sent.Durable(p.h.t.Context()))
}

func (p *person) say(to, text string) {
	p.h.t.Helper()
	if p.sealed != nil {
		p.durable(p.sealed.Send(p.h.t.Context(), to, []byte(text)))
	} else {
		p.durable(p.plain.Send(p.h.t.Context(), to, []byte(text)))
	}
}

func (p *person) sendFile(to, path string) {
	p.h.t.Helper()
	u := e2ee.FileUpload{Path: path, Type: "image/png", Thumbnail: []byte(p.h.secrets["thumbnail"]), Text: p.h.secrets["text"]}
	if p.sealed != nil {
		p.durable(p.sealed.SendFile(p.h.t.Context(), p.media, to, u, client.SendOptions{}))
		return
	}
	src, err := os.ReadFile(path)
	must(p.h.t, err)
	blob, err := p.media.Upload(p.h.t.Context(), bytes.NewReader(src), client.Upload{Size: int64(len(src))})
	must(p.h.t, err)
	body, err := json.Marshal(e2ee.File{Blob: blob, Name: filepath.Base(path), Thumbnail: u.Thumbnail, Text: u.Text})
	must(p.h.t, err)
	p.durable(p.plain.Send(p.h.t.Context(), to, body, client.SendOptions{Media: client.MediaPrefix + blob}))
}

// makeGroup makes a group that has a name and a picture.
func (p *person) makeGroup(users ...string) (group string) {
	p.h.t.Helper()
	info := e2ee.GroupInfo{Name: p.h.secrets["name of a group"], Picture: []byte(p.h.secrets["picture of a group"])}
	var sent *client.Sent
	var err error
	if p.sealed != nil {
		group, sent, err = p.sealed.CreateGroup(p.h.t.Context(), info, users...)
	} else {
		body, fault := info.Body()
		must(p.h.t, fault)
		group, sent, err = p.plain.CreateGroup(p.h.t.Context(), body, users...)
	}
	p.durable(sent, err)
	return group
}

// learns takes what comes until it has a group's name and picture.
func (p *person) learns(group string) {
	p.h.t.Helper()
	for {
		var info e2ee.GroupInfo
		switch e := p.next().(type) {
		case e2ee.GroupNamed:
			info = e.Info
		case client.Message:
			change, err := chat.ParseChange(e.Content)
			if p.sealed != nil || err != nil || string(e.To) != group {
				continue
			}
			must(p.h.t, json.Unmarshal(change.Info, &info))
		default:
			continue
		}
		if info.Name != p.h.secrets["name of a group"] || string(info.Picture) != p.h.secrets["picture of a group"] {
			p.h.t.Fatalf("the group is %+v", info)
		}
		return
	}
}

func (p *person) next() client.Event {
	p.h.t.Helper()
	var e client.Event
	var err error
	if p.sealed != nil {
		e, err = p.sealed.Receive(p.h.t.Context())
	} else {
		e, err = p.plain.Receive(p.h.t.Context())
	}
	must(p.h.t, err)
	return e
}

// hear returns the content of the next message, which is of a type.
func (p *person) hear(typ uint8) []byte {
	p.h.t.Helper()
	for {
		switch e := p.next().(type) {
		case client.Message:
			if e.Suite != chat.SuiteGroup && (p.sealed == nil || typ == e2ee.TypeBody) {
				return e.Content
			}
		case e2ee.Typed:
			if e.Type == typ {
				return e.Message.Content
			}
		case e2ee.Failed:
			p.h.t.Fatalf("%+v", e)
		}
	}
}

func (p *person) fetch(f e2ee.File) []byte {
	p.h.t.Helper()
	if p.sealed != nil {
		path := filepath.Join(p.h.t.TempDir(), "picture")
		must(p.h.t, e2ee.SaveFile(p.h.t.Context(), p.media, f, path, nil))
		b, err := os.ReadFile(path)
		must(p.h.t, err)
		return b
	}
	var b bytes.Buffer
	_, err := p.media.Download(p.h.t.Context(), f.Blob, &b, client.Download{})
	must(p.h.t, err)
	return b.Bytes()
}

func (p *person) history(peer string) {
	p.h.t.Helper()
	var err error
	if p.sealed != nil {
		_, err = p.sealed.History(p.h.t.Context(), peer, chat.ID{}, 10)
	} else {
		_, err = p.plain.History(p.h.t.Context(), peer, chat.ID{}, 10)
	}
	must(p.h.t, err)
}

// filesIn opens every file below a path. What its servers remove meanwhile is
// left out.
func filesIn(t *testing.T, root string) (files []io.Reader) {
	t.Helper()
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, &file{path: path})
		}
		if os.IsNotExist(err) && path != root {
			return nil
		}
		return err
	}))
	return files
}

// file is opened when it is read.
type file struct {
	path string
	f    *os.File
}

func (f *file) Read(b []byte) (n int, err error) {
	if f.f == nil {
		if f.f, err = os.Open(f.path); os.IsNotExist(err) {
			return 0, io.EOF
		} else if err != nil {
			return 0, err
		}
	}
	if n, err = f.f.Read(b); err != nil {
		f.f.Close()
	}
	return n, err
}

// disguises are forms that bytes take in text: themselves, hex, and base64 at
// each of the three places where they may begin, without the ends that depend on
// what is beside them.
func disguises(s string) []string {
	forms := []string{s, fmt.Sprintf("%x", s)}
	for before := range 3 {
		b := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", before) + s))
		first := (before*8 + 5) / 6
		forms = append(forms, b[first:(before+len(s))*8/6])
	}
	slices.Sort(forms)
	return forms
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

func random(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[rand.IntN(len(letters))]
	}
	return string(b)
}

func TestDisguises(t *testing.T) {
	s := random(24)
	for before := range 7 {
		text := strings.Repeat("?", before) + s + "behind"
		for what, in := range map[string]string{"itself": text, "hex": fmt.Sprintf("%x", text), "base64": base64.StdEncoding.EncodeToString([]byte(text))} {
			if !slices.ContainsFunc(disguises(s), func(p string) bool { return strings.Contains(in, p) }) {
				t.Errorf("%s, %d before: not found in %s", what, before, in)
			}
		}
	}
}
