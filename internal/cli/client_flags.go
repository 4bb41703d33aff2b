package cli

import (
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
	url, as, device, token, data, state string
	json                                bool
	keyFlags
}

func newClientFlags(command string) (*clientFlags, *pflag.FlagSet) {
	f, fs := new(clientFlags), pflag.NewFlagSet(command, pflag.ContinueOnError)
	fs.SortFlags = false
	fs.StringVar(&f.as, "as", "", "the user this is")
	fs.StringVar(&f.url, "url", "ws://127.0.0.1:8080", "the server, ws://host:port or wss://host:port")
	fs.StringVar(&f.token, "token", "", "a JWT for the user, or @FILE that holds one; without it the development key in --data signs one")
	fs.StringVar(&f.data, "data", "./data", "the server's data folder, for its development key; on loopback only")
	fs.StringVar(&f.state, "state", "", "the folder of state files, outbox and cursor (default: DATA/clients; with --token none is kept)")
	fs.StringVar(&f.device, "device", command, "the device this is; each running command needs its own")
	fs.BoolVar(&f.json, "json", false, "print records, one JSON object a line")
	f.keyFlags.add(fs)
	return f, fs
}

// options makes the SDK's options, which change may change. The error says what
// to do, and code is what to exit with.
func (f *clientFlags) options(change func(*client.Options)) (o client.Options, code int, err error) {
	o = client.Options{URL: f.url, User: f.as, Device: f.device, State: f.statePath()}
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

func (f *clientFlags) statePath() string {
	dir := f.state
	if dir == "" && f.token != "" {
		return ""
	}
	if dir == "" {
		dir = filepath.Join(f.data, "clients")
	}
	return filepath.Join(dir, f.as+"."+f.device+".state")
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
		return key.Sign(auth.NewClaims("", f.as, f.device, devTokenTTL))
	}, nil
}

func loopbackAddress(u *url.URL) string {
	if u.Port() == "" {
		return u.Host + ":80"
	}
	return u.Host
}

// session parses a command's flags, connects, and runs it. An interrupt ends
// ctx. The client is closed afterwards, which says what was handled.
func (f *clientFlags) session(ctx context.Context, env *Env, change func(*client.Options), run func(context.Context, *session) int) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, code, err := f.options(change)
	if err != nil {
		env.errorLines(err)
		return code
	}
	c, err := f.dial(ctx, o)
	if err != nil {
		env.Errorf("%v", err)
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

// dial connects. While another process has the state file it waits for it: two
// at once would take the session from each other.
func (f *clientFlags) dial(ctx context.Context, o client.Options) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	for {
		c, err := f.connect(ctx, o)
		if !errors.Is(err, client.ErrInUse) {
			return c, err
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
	r := recordOf(kind, &t.m)
	r.Content, r.Base64, r.Kind, r.Seconds = &t.body.Text, "", kindNames[t.body.Kind], t.body.Seconds
	if !t.body.Target.Zero() {
		r.Target = t.body.Target.String()
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
