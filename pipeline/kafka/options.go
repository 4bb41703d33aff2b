package kafka

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// Limits.
const (
	// MaxRecords is how many framed records one append may have, and so how
	// many positions one Kafka record takes.
	MaxRecords = 256

	// MaxAppendBytes bounds one append. Topics have to take batches of
	// MaxMessageBytes.
	MaxAppendBytes = 4 << 20

	// MaxMessageBytes is the least max.message.bytes of a topic: an append of
	// MaxAppendBytes with what Kafka puts around it.
	MaxMessageBytes = MaxAppendBytes + 64<<10

	// MaxEpoch is the greatest epoch of positions, and so of topics.
	MaxEpoch = 1<<15 - 1

	maxPartitions = 1024
)

// Options of a log. The zero value of every field but Brokers is its default.
type Options struct {
	// Brokers are addresses, host:port, of some brokers of the cluster.
	Brokers []string

	// Prefix begins the names of topics: PREFIX.EPOCH has the records, of which
	// the greatest epoch is used, and PREFIX.deadletters what could not be
	// decoded (default "rookery").
	Prefix string

	// Partitions is how many the topic must have; 0 takes what it has.
	Partitions int

	// ClientID is what brokers show for this process (default "rookery").
	ClientID string

	// TLS is how brokers are reached and known; nil is without.
	TLS *TLS

	// SASL is how this process says who it is; nil is not at all.
	SASL *SASL

	// Linger is the tick at which, under load, the batches of all partitions are
	// written and brokers are asked for news (default 5 ms; negative is at once).
	// What comes after a quiet while does not wait.
	Linger time.Duration

	// BatchBytes bounds what is gathered into one Kafka batch (default 1 MiB, at
	// most MaxAppendBytes). One append may be larger.
	BatchBytes int

	// Compression is none, lz4, zstd, snappy or gzip (default none).
	Compression string

	// PartitionBytes bounds what of one partition waits for brokers, and
	// BufferedBytes what of all does; TryAppend returns ErrFull beyond (defaults
	// 8 MiB and 64 MiB).
	PartitionBytes, BufferedBytes int64

	// StallAfter is how long brokers may take for a batch before TryAppend
	// returns ErrFull for its partition (default 3 s).
	StallAfter time.Duration

	// ReadBytes bounds the records of a partition that were fetched and not read
	// yet; over it the partition is fetched no more. A fetch may go over it once
	// (default 2 MiB).
	ReadBytes int

	// Group is the consumer group by which partitions are given to owners
	// (default Prefix).
	Group string

	// SessionTimeout is after how long without a heartbeat another process gets
	// this one's partitions (default 6 s).
	SessionTimeout time.Duration

	// CommitEvery is how often what owners have released is committed to the
	// group, for tools that show lag (default 5 s).
	CommitEvery time.Duration

	// CloseTimeout bounds how long Close waits for brokers (default 10 s).
	CloseTimeout time.Duration

	// Logger gets what an operator should know (default slog.Default()).
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	setDefault(&o.Prefix, "rookery")
	setDefault(&o.ClientID, "rookery")
	setDefault(&o.Linger, 5*time.Millisecond)
	setDefault(&o.BatchBytes, 1<<20)
	setDefault(&o.Compression, "none")
	setDefault(&o.PartitionBytes, 8<<20)
	setDefault(&o.BufferedBytes, 64<<20)
	setDefault(&o.StallAfter, 3*time.Second)
	setDefault(&o.ReadBytes, 2<<20)
	setDefault(&o.Group, o.Prefix)
	setDefault(&o.SessionTimeout, 6*time.Second)
	setDefault(&o.CommitEvery, 5*time.Second)
	setDefault(&o.CloseTimeout, 10*time.Second)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate reports all that is wrong with the options together.
func (o Options) Validate() error {
	o = o.withDefaults()
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("kafka log: "+format, args...))
		}
	}
	check(len(o.Brokers) > 0, "no brokers are given")
	for _, b := range o.Brokers {
		check(strings.Contains(b, ":"), "broker %q has no port, write host:port", b)
	}
	check(validPrefix(o.Prefix), "topic prefix %q is not 1 to 200 of a-z A-Z 0-9 . _ -", o.Prefix)
	check(o.Partitions >= 0 && o.Partitions <= maxPartitions, "Partitions is %d, not 0 to %d", o.Partitions, maxPartitions)
	check(o.BatchBytes > 0 && o.BatchBytes <= MaxAppendBytes, "BatchBytes is %d, not 1 to %d", o.BatchBytes, MaxAppendBytes)
	_, known := codecs[o.Compression]
	check(known, "Compression is %q, not none, lz4, zstd, snappy or gzip", o.Compression)
	check(o.PartitionBytes > 0, "PartitionBytes is %d", o.PartitionBytes)
	check(o.BufferedBytes >= o.PartitionBytes, "BufferedBytes is %d, less than PartitionBytes %d", o.BufferedBytes, o.PartitionBytes)
	check(o.StallAfter > 0, "StallAfter is %v", o.StallAfter)
	check(o.ReadBytes > 0, "ReadBytes is %d", o.ReadBytes)
	check(o.SessionTimeout >= time.Second, "SessionTimeout is %v, less than 1s", o.SessionTimeout)
	check(o.CommitEvery > 0, "CommitEvery is %v", o.CommitEvery)
	check(o.CloseTimeout > 0, "CloseTimeout is %v", o.CloseTimeout)
	if o.SASL != nil {
		faults = append(faults, o.SASL.validate())
	}
	return errors.Join(faults...)
}

// validPrefix reports whether topics may begin with s, and have room for an end.
func validPrefix(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 200
}
