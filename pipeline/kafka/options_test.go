package kafka

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/services"
	"github.com/rookery-chat/rookery/pipeline/pipelinetest"
)

// All faults are reported together.
func TestValidate(t *testing.T) {
	bad := Options{Brokers: []string{"h"}, Prefix: "a b", Partitions: -1, BatchBytes: MaxAppendBytes + 1, Compression: "x", PartitionBytes: 10, BufferedBytes: 9,
		StallAfter: -1, ReadBytes: -1, SessionTimeout: time.Millisecond, CommitEvery: -1, CloseTimeout: -1, SASL: &SASL{}}
	err := bad.Validate()
	if err == nil || len(strings.Split(err.Error(), "\n")) != 14 {
		t.Errorf("14 faults:\n%v", err)
	}
	if err := (Options{Brokers: []string{"h:1"}}).Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}

// secured are options for the listener with TLS and a login.
func secured(t *testing.T, mechanism string) Options {
	t.Helper()
	s := services.Get(t)
	services.Kafka(t)
	o := options(s.KafkaSASL)
	o.TLS = &TLS{CAFile: s.TLSCA}
	o.SASL = &SASL{Mechanism: mechanism, User: s.KafkaUser, PasswordFile: passwordFile(t, s.KafkaPassword)}
	return o
}

func passwordFile(t *testing.T, password string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(name, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestTLSAndLogin(t *testing.T) {
	for _, mechanism := range []string{Plain, ScramSHA512} {
		t.Run(mechanism, func(t *testing.T) {
			o := newTopics(t, secured(t, mechanism), 1)
			l := mustOpen(t, o)
			w := pipelinetest.NewWatcher()
			if err := l.Own(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			pipelinetest.Await(t, w.Gained, 1)
			pipelinetest.Append(t, l, 0, "a")
			pipelinetest.Expect(t, l, 0, 0, "a")
		})
	}
}

func TestLoginRefused(t *testing.T) {
	for _, mechanism := range []string{Plain, ScramSHA512} {
		o := secured(t, mechanism)
		o.SASL.PasswordFile = passwordFile(t, "wrong")
		_, err := Open(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), "refuse us with TLS as "+o.SASL.User+" by "+mechanism) || strings.Contains(err.Error(), "wrong") {
			t.Errorf("%s: %v", mechanism, err)
		}
	}
}

func TestTLSRefused(t *testing.T) {
	o := secured(t, Plain)
	for name, tls := range map[string]*TLS{
		"certificate":     {}, // of an authority that the system does not know
		"read":            {CAFile: filepath.Join(t.TempDir(), "none")},
		"no certificate":  {CAFile: o.SASL.PasswordFile},
		"our certificate": {CertFile: "none", KeyFile: "none"},
		"elsewhere":       {CAFile: o.TLS.CAFile, ServerName: "elsewhere"},
	} {
		o.TLS = tls
		if name == "read" {
			name = "no such file"
		}
		if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Handing a batch over allocates nothing once the queue has its size.
func TestTryAppendAllocates(t *testing.T) {
	l := &Log{o: Options{Brokers: []string{"h:1"}}.withDefaults(), partitions: []*partition{newPartition(0)}}
	batch, done := pipelinetest.Frame("a", "b"), func(chat.Position, error) {}
	q := &l.partitions[0].queue
	run := func() {
		for range 10 {
			if err := l.TryAppend(0, batch, 2, done); err != nil {
				t.Fatal(err)
			}
		}
		taken := q.take()
		q.fill("topic", 0, taken)
		q.bytes = 0
		l.queuedBytes.Store(0)
	}
	run()
	run()
	if n := testing.AllocsPerRun(100, run); n > 0 {
		t.Errorf("ten appends allocate %v times", n)
	}
}
