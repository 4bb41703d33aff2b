package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var codecs = map[string]kgo.CompressionCodec{
	"none":   kgo.NoCompression(),
	"lz4":    kgo.Lz4Compression(),
	"zstd":   kgo.ZstdCompression(),
	"snappy": kgo.SnappyCompression(),
	"gzip":   kgo.GzipCompression(),
}

// Times of a connection. A broker that is frozen or cut off is noticed by a
// request that is not answered within requestTimeout and overhead.
const (
	dialTimeout     = 3 * time.Second
	requestTimeout  = 5 * time.Second
	requestOverhead = 3 * time.Second
	answerTimeout   = 10 * time.Second // of a question at the start
)

// newClient makes a client with what all of ours have in common.
func newClient(o *Options, role string, opts ...kgo.Opt) (*kgo.Client, error) {
	opts = append([]kgo.Opt{
		kgo.SeedBrokers(o.Brokers...),
		kgo.ClientID(o.ClientID),
		kgo.WithLogger(logger{o.Logger.With("kafka_client", role)}),
		kgo.DialTimeout(dialTimeout),
		kgo.RequestTimeoutOverhead(requestOverhead),
		kgo.MetadataMinAge(time.Second), // a leader that moved is found soon
		kgo.MetadataMaxAge(time.Minute),
	}, opts...)
	if o.TLS != nil {
		c, err := o.TLS.config()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.DialTLSConfig(c))
	}
	if o.SASL != nil {
		if _, err := o.SASL.password(); err != nil {
			return nil, err
		}
		opts = append(opts, o.SASL.option())
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("kafka log: %w", err)
	}
	return cl, nil
}

// reach asks brokers whether they are there, and says what was tried if none is.
func reach(ctx context.Context, o *Options, cl *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err := cl.Ping(ctx)
	if err == nil {
		return nil
	}
	how := "without TLS"
	if o.TLS != nil {
		how = "with TLS"
	}
	if o.SASL != nil {
		how += " as " + o.SASL.User + " by " + o.SASL.Mechanism
	}
	if errors.Is(err, kerr.SaslAuthenticationFailed) {
		return fmt.Errorf("kafka log: brokers %s refuse us %s: %w", strings.Join(o.Brokers, ","), how, err)
	}
	return fmt.Errorf("kafka log: brokers %s do not answer %s: %w", strings.Join(o.Brokers, ","), how, err)
}

// logger passes on what the driver warns of.
type logger struct{ *slog.Logger }

func (logger) Level() kgo.LogLevel { return kgo.LogLevelWarn }

func (l logger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	if strings.HasPrefix(msg, "received an OffsetCommitResponse after our group session has ended") {
		return // each time, of a group that fetches nothing: its client keeps no offsets
	}
	to := slog.LevelWarn
	if level == kgo.LogLevelError {
		to = slog.LevelError
	}
	l.Logger.Log(context.Background(), to, msg, keyvals...)
}
