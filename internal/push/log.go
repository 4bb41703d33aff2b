package push

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// LogProvider is the name under which Senders hold a Log. Devices cannot
// register with it: it stands in for those that registered with nobody.
const LogProvider = "log"

// Log says in the server's log that a push would have gone out, at most once a
// second. Its zero value is not usable; see NewLog.
type Log struct {
	logger *slog.Logger
	limit  *rate.Limiter
	silent atomic.Uint64 // notices since the last line
}

// NewLog returns a Log.
func NewLog(l *slog.Logger) *Log {
	return &Log{logger: l, limit: rate.NewLimiter(rate.Every(time.Second), 1)}
}

// Check refuses every token.
func (l *Log) Check(string) error { return ErrRefused }

// Send writes a line, without anything that tells whose push it is.
func (l *Log) Send(_ context.Context, _ string, n Notice) error {
	if !l.limit.Allow() {
		l.silent.Add(1)
		return nil
	}
	l.logger.Info("a push would tell a device that something waits: no provider is set",
		"chat", n.Chat, "count", n.Count, "others", l.silent.Swap(0))
	return nil
}
