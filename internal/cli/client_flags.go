package cli

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/content"
	"github.com/rookery-chat/rookery/client/e2ee"
	"github.com/rookery-chat/rookery/internal/auth"
	"github.com/rookery-chat/rookery/internal/config"
)

const (
	devTokenTTL   = time.Hour             // of a token that the development key signs
	connectWait   = 10 * time.Second      // for the first session
	goodbyeWait   = 2 * time.Second       // for what is to be said at the end
	stateLockWait = 50 * time.Millisecond // between two looks at a state file in use
)

// clientFlags are what the commands that act as a user share.
type clientFlags struct {
	command                             string
	url, as, device, token, data, state string
	json                                bool
	link                                e2ee.LinkOptions // of device link
	keyFlags

	names []string // that the device may have: one that is in use gives way to the next
	name  string   // that it has
}

// use is what a command does as a user.
type use uint8

const (
	asks     use = iota // puts questions: it takes no messages, and reads keys where they lie
	sends               // sends, and takes no messages: what waits for the user goes on waiting
	receives            // takes messages
)

func newClientFlags(command string) (*clientFlags, *pflag.FlagSet) {
	f, fs := &clientFlags{command: command}, pflag.NewFlagSet(command, pflag.ContinueOnError)
	fs.SortFlags = false
	fs.StringVar(&f.as, "as", "", "the user this is")
	fs.StringVar(&f.url, "url", "ws://127.0.0.1:8080", "the server, ws://host:port or wss://host:port")
	fs.StringVar(&f.token, "token", "", "a JWT for the user, or @FILE that holds one; without it the development key in --data signs one")
	fs.StringVar(&f.data, "data", "./data", "the server's data folder, for its development key; on loopback only")
	fs.StringVar(&f.state, "state", "", "the folder of state files: outbox, cursor and keys (default: DATA/clients; with --token there is none)")
	fs.StringVar(&f.device, "device", "", "the device this is (default: that of the folder, or a spare one while it is in use; with --plain the command's name)")
	fs.BoolVar(&f.json, "json", false, "print records, one JSON object a line")
	f.keyFlags.add(fs)
	return f, fs
}

// options makes the SDK's options, which change may change. The error says what
// to do, and code is what to exit with.
func (f *clientFlags) options(change func(*client.Options)) (o client.Options, code int, err error) {
	f.name = cmp.Or(f.device, f.command)
	o = client.Options{URL: f.url, User: f.as, Device: f.name, State: f.statePath(f.name)}
	if f.as == "" {
		return o, ExitUsage, errors.New("say who you are: --as USER")
	}
	if o.Token, err = f.tokens(); err != nil {
		return o, ExitUsage, err // no server was asked
	}
	if change != nil {
		change(&o)
	}
	if err := o.Validate(); err != nil {
		return o, ExitUsage, errors.New(flagNamesOf.Replace(err.Error()))
	}
	return o, ExitOK, nil
}

// flagNamesOf turns the options' names into those of the flags.
var flagNamesOf = strings.NewReplacer(
	"bad_name: client options: URL", "--url", "bad_name: client options: User", "--as",
	"bad_name: client options: Device", "--device", "bad_name: client options: From", "--from",
)

// stateDir is the folder of state files, "" for none.
func (f *clientFlags) stateDir() string {
	if f.state == "" && f.token == "" {
		return filepath.Join(f.data, "clients")
	}
	return f.state
}

func (f *clientFlags) statePath(device string) string {
	dir := f.stateDir()
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, f.as+"."+device+".state")
}

// findNames finds out which device this may be, and whether it can do what the
// command does.
func (f *clientFlags) findNames(as use) (code int, err error) {
	dir := f.stateDir()
	switch {
	case f.device != "" || f.plain || dir == "":
		f.names = []string{f.name}
	default:
		if f.names, err = devicesOf(dir, f.as); err != nil {
			return ExitData, err
		}
	}
	switch keys := keysPath(f.statePath(f.names[0])); {
	case as == asks:
	case !f.plain && dir == "":
		return ExitUsage, errors.New("say where this device's keys are kept: --state DIR; or do without encryption: --plain")
	case f.plain && as == receives && exists(keys):
		return ExitUsage, fmt.Errorf("the device %s has keys, which a command that takes its messages without them loses: give --plain another --device", f.name)
	}
	return ExitOK, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return path != "" && err == nil
}

// tokens returns what gives the client its tokens.
func (f *clientFlags) tokens() (func(context.Context) (string, error), error) {
	if path, ok := strings.CutPrefix(f.token, "@"); ok {
		return func(context.Context) (string, error) {
			b, err := os.ReadFile(path)
			return strings.TrimSpace(string(b)), err
		}, nil
	}
	if f.token != "" {
		return func(context.Context) (string, error) { return f.token, nil }, nil
	}
	if u, err := url.Parse(f.url); err == nil && !config.Loopback(loopbackAddress(u)) {
		return nil, fmt.Errorf("the development key is for servers on this machine only: give --token for %s", f.url)
	}
	key, err := auth.LoadDevKey(f.data)
	if err != nil {
		return nil, fmt.Errorf("%w, or give --data DIR or --token", err)
	}
	return func(context.Context) (string, error) {
		return key.Sign(auth.NewClaims("", f.as, f.name, devTokenTTL))
	}, nil
}

func loopbackAddress(u *url.URL) string {
	if u.Port() == "" {
		return u.Host + ":80"
	}
	return u.Host
}

// session connects for a command, and runs it. An interrupt ends ctx. The client is
// closed afterwards, which says what was handled.
func (f *clientFlags) session(ctx context.Context, env *Env, as use, change func(*client.Options), run func(context.Context, *session) int) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, code, err := f.options(func(o *client.Options) {
		if as != receives {
			o.SendOnly, o.From = true, client.FromNow
		}
		if change != nil {
			change(o)
		}
	})
	if err == nil {
		code, err = f.findNames(as)
	}
	if err != nil {
		env.errorLines(err)
		return code
	}
	if as != asks {
		f.sendLeft(ctx, env, o)
	}
	c, err := f.dial(ctx, as, o)
	if err != nil {
		env.Errorf("%v", f.advice(err))
		return exitOf(err)
	}
	code = run(ctx, c)
	goodbye, cancel := context.WithTimeout(context.Background(), goodbyeWait)
	defer cancel()
	if err := c.Close(goodbye); err != nil && code == ExitOK {
		env.Errorf("%v", err)
		code = exitOf(err)
	}
	return code
}

// dial connects, as the first of its devices that no other process has: two at once
// would take the session from each other. Where there is none it waits.
func (f *clientFlags) dial(ctx context.Context, as use, o client.Options) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	for {
		var err error
		for _, f.name = range f.names {
			var c *session
			o.Device, o.State = f.name, f.statePath(f.name)
			if c, err = f.connect(ctx, as, o); !errors.Is(err, client.ErrInUse) {
				return c, err
			}
		}
		select {
		case <-time.After(stateLockWait):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w, with --device", err)
		}
	}
}

// exitOf returns the exit code of an error of the SDK.
func exitOf(err error) int {
	var e *chat.Error
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, client.ErrState):
		return ExitData
	case errors.Is(err, context.Canceled):
		return ExitInterrupted
	case errors.As(err, &e) && e.Code == chat.CodeUnavailable:
		return ExitUnreachable
	case errors.Is(err, context.DeadlineExceeded):
		return ExitTimeout
	case errors.As(err, &e) && e.Code.Action() == chat.ActionReconnect:
		return ExitUnreachable
	case errors.As(err, &e):
		return ExitRefused
	}
	return ExitFailed
}

// errorLines writes an error that may be several joined.
func (e *Env) errorLines(err error) {
	for line := range strings.Lines(err.Error()) {
		e.Errorf("%s", strings.TrimSpace(line))
	}
}

// printJSON prints a record as one line.
func (e *Env) printJSON(record any) {
	b, err := json.Marshal(record)
	if err != nil {
		e.Errorf("%v", err)
		return
	}
	e.Stdout.Write(append(b, '\n'))
}

// messageRecord is a message as --json prints it.
type messageRecord struct {
	Type    string  `json:"type"` // message, or copy: sent by another device of the user
	ID      string  `json:"id"`
	From    string  `json:"from"`
	To      string  `json:"to"`
	Sent    string  `json:"sent"`     // the id's time, RFC 3339
	Taken   string  `json:"taken"`    // when the server took it in
	Place   string  `json:"position"` // in the receiver's partition
	Suite   uint8   `json:"suite"`
	Content *string `json:"content,omitempty"`        // of suite 0, when it is text
	Base64  string  `json:"content_base64,omitempty"` // of others
	Media   string  `json:"media,omitempty"`
	Expires string  `json:"expires,omitempty"`
	Status  string  `json:"status,omitempty"` // of a message the user sent

	// of encrypted messages that say more than a text
	Kind    string `json:"kind,omitempty"`    // text, edit, delete, reaction, timer
	Target  string `json:"target,omitempty"`  // the id of the message that it is about
	Seconds uint32 `json:"seconds,omitempty"` // its life, or the chat's
}

var kindNames = map[content.Kind]string{
	content.KindText: "text", content.KindEdit: "edit", content.KindDelete: "delete", content.KindReaction: "reaction", content.KindTimer: "timer",
}

func recordOfTold(t told) messageRecord {
	kind := "message"
	if t.isCopy {
		kind = "copy"
	}
	return recordOfSaid(kind, &t.m, t.body)
}

// recordOfSaid is a message with what it says. One that cannot be read has no content.
func recordOfSaid(kind string, m *chat.Message, b content.Body) messageRecord {
	r := recordOf(kind, m)
	if m.Suite != chat.SuiteMegolm || m.Content == nil {
		return r
	}
	r.Content, r.Base64, r.Seconds = &b.Text, "", b.Seconds
	if !b.Target.Zero() {
		r.Target = b.Target.String()
	}
	if b.Kind != content.KindText || r.Target != "" || r.Seconds > 0 {
		r.Kind = kindNames[b.Kind]
	}
	return r
}

func recordOf(kind string, m *chat.Message) messageRecord {
	r := messageRecord{
		Type: kind, ID: m.ID.String(), From: string(m.From), To: string(m.To), Sent: rfc3339(m.ID.Time()),
		Taken: rfc3339(time.UnixMilli(m.At)), Place: m.Place.String(), Suite: m.Suite, Media: m.Media,
	}
	if m.Expires > 0 {
		r.Expires = rfc3339(time.UnixMilli(m.Expires))
	}
	if readableSuite(m) && utf8.Valid(m.Content) {
		text := string(m.Content)
		r.Content = &text
	} else {
		r.Base64 = base64.StdEncoding.EncodeToString(m.Content)
	}
	return r
}

func rfc3339(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// textOf is a message's content for a terminal.
func textOf(m *chat.Message) string {
	if m.Suite == chat.SuiteGroup {
		return changeText(m)
	}
	text := printable(string(m.Content))
	if !readableSuite(m) || !utf8.Valid(m.Content) {
		text = fmt.Sprintf("<%d bytes, suite %d>", len(m.Content), m.Suite)
	}
	if m.Media != "" {
		text = strings.TrimSpace(text + " <" + printable(m.Media) + ">")
	}
	return text
}

// printable replaces what would move a terminal's cursor, change its colours or
// turn its text around: what others write must not do that here.
func printable(s string) string {
	const joiner = '\u200d' // within emoji
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r == joiner || unicode.IsPrint(r):
			return r
		}
		return utf8.RuneError
	}, s)
}
