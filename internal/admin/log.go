package admin

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// NewLogger returns the logger of a format (text or json) and a level (debug,
// info, warn, error), with the variable that changes the level later. What
// must never be in a log is blacked out by name, should it ever be passed.
func NewLogger(w io.Writer, format, level string) (*slog.Logger, *slog.LevelVar, error) {
	l, err := parseLevel(level)
	if err != nil {
		return nil, nil, err
	}
	v := new(slog.LevelVar)
	v.Set(l)
	o := &slog.HandlerOptions{Level: v, ReplaceAttr: redact}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), v, nil
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), v, nil
	}
	return nil, nil, fmt.Errorf("log format %q is none of text, json", format)
}

func parseLevel(name string) (slog.Level, error) {
	switch name {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log level %q is none of debug, info, warn, error", name)
}

// secretNames are attributes whose value is never written.
var secretNames = map[string]bool{
	"token": true, "authorization": true, "secret": true, "private": true,
	"content": true, "payload": true, "body": true, "packet": true, "media": true,
}

// redact blacks out secrets, and bytes of any name: they are mostly somebody's
// message.
func redact(_ []string, a slog.Attr) slog.Attr {
	if secretNames[strings.ToLower(a.Key)] {
		return slog.String(a.Key, "[redacted]")
	}
	if b, ok := a.Value.Any().([]byte); ok {
		return slog.String(a.Key, fmt.Sprintf("[%d bytes]", len(b)))
	}
	return a
}
