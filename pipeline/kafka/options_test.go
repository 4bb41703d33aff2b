package kafka

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/services"
	"github.com/rookery-chat/rookery/pipeline/pipelinetest"
)

func TestParseURL(t *testing.T) {
	for _, test := range []struct {
		url  string
		want Options
	}{
		{"kafka://h:1", Options{Brokers: []string{"h:1"}}},
		{"kafka://h,i:2,[::1]:3/chat", Options{Brokers: []string{"h:9092", "i:2", "[::1]:3"}, Prefix: "chat"}},
		{"kafkas://h:1", Options{Brokers: []string{"h:1"}, TLS: &TLS{}}},
		{"kafka://a%40b@h:1/?password_file=/p", Options{Brokers: []string{"h:1"},
			SASL: &SASL{Mechanism: ScramSHA512, User: "a@b", PasswordFile: "/p"}}},
		{"kafka://u@h:1/p?sasl=plain&password_file=/p&tls_ca=/ca&tls_cert=/c&tls_key=/k&tls_server_name=s", Options{Brokers: []string{"h:1"}, Prefix: "p",
			SASL: &SASL{Mechanism: Plain, User: "u", PasswordFile: "/p"}, TLS: &TLS{"/ca", "/c", "/k", "s"}}},
		{"kafka://h:1/p?partitions=8&client_id=c&linger=1ms&batch_bytes=1000&compression=zstd&partition_bytes=5&buffered_bytes=6&stall_after=2s&read_bytes=7&group=g&session_timeout=9s&commit_every=1s&close_timeout=4s",
			Options{Brokers: []string{"h:1"}, Prefix: "p", Partitions: 8, ClientID: "c", Linger: time.Millisecond, BatchBytes: 1000, Compression: "zstd",
				PartitionBytes: 5, BufferedBytes: 6, StallAfter: 2 * time.Second, ReadBytes: 7, Group: "g",
				SessionTimeout: 9 * time.Second, CommitEvery: time.Second, CloseTimeout: 4 * time.Second}},
	} {
		got, err := ParseURL(test.url)
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, %v, want %+v", test.url, got, err, test.want)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	for url, want := range map[string]string{
		"http://h":                           "kafka://",
		"kafka://":                           "no brokers",
		"kafka://u:secret@h":                 "password_file=",
		"kafka://h?lingr=1s":                 `no setting "lingr"`,
		"kafka://h?linger=5":                 "not a duration",
		"kafka://h?partitions=x&batch_bytes": "batch_bytes",
		"kafka://h/a/b":                      "topic prefix",
		"kafka://h?compression=lzma":         "lzma",
		"kafka://u@h":                        "no password file",
		"kafka://u@h?sasl=md5":               "md5",
	} {
		_, err := ParseURL(url)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want something of %s", url, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the password is in the error: %v", url, err)
		}
	}
}

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
