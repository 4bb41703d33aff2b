// Package services finds the real servers that tests run against: Kafka,
// Cassandra, Redis and S3, which `make services` started on this machine and
// described in .cache/services/env. A test whose server is missing fails.
// [Start] gives a test servers of its own, which it may kill.
//
// The running servers are shared, so a test uses a topic, a keyspace or a
// prefix of keys of its own.
package services

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Servers says where servers are and how to get in. Addresses are host:port;
// what does not run is "".
type Servers struct {
	Kafka         string `env:"KAFKA"`      // in the clear, nobody logs in
	KafkaSASL     string `env:"KAFKA_SASL"` // TLS; SCRAM-SHA-512 or PLAIN
	KafkaUser     string `env:"KAFKA_USER"`
	KafkaPassword string `env:"KAFKA_PASSWORD"`

	Cassandra         string `env:"CASSANDRA"`     // in the clear, with a login
	CassandraTLS      string `env:"CASSANDRA_TLS"` // the same port: the client decides
	CassandraUser     string `env:"CASSANDRA_USER"`
	CassandraPassword string `env:"CASSANDRA_PASSWORD"`

	Redis         string `env:"REDIS"`     // in the clear; a login is possible
	RedisTLS      string `env:"REDIS_TLS"` // the same over TLS
	RedisUser     string `env:"REDIS_USER"`
	RedisPassword string `env:"REDIS_PASSWORD"`

	S3          string `env:"S3"` // in the clear; buckets are the test's to make
	S3AccessKey string `env:"S3_ACCESS_KEY"`
	S3SecretKey string `env:"S3_SECRET_KEY"`

	// Of servers that a test started itself; comma-separated.
	Kafka3  string `env:"KAFKA3"`
	HAProxy string `env:"HAPROXY"`

	// Files in PEM: the authority of all, and a certificate it signed for
	// localhost and 127.0.0.1, which may serve and may be a client.
	TLSCA   string `env:"TLS_CA"`
	TLSCert string `env:"TLS_CERT"`
	TLSKey  string `env:"TLS_KEY"`
}

// Get returns all that `make services` described, running or not.
func Get(t testing.TB) Servers {
	t.Helper()
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	s, err := read(filepath.Join(root, ".cache", "services", "env"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Kafka returns the address of the running broker.
func Kafka(t testing.TB) string {
	t.Helper()
	return running(t, "Kafka", Get(t).Kafka)
}

// Cassandra returns the address of the running node. It asks for a login: see
// [Servers.CassandraUser].
func Cassandra(t testing.TB) string {
	t.Helper()
	return running(t, "Cassandra", Get(t).Cassandra)
}

// Redis returns the address of the running Redis.
func Redis(t testing.TB) string {
	t.Helper()
	return running(t, "Redis", Get(t).Redis)
}

// S3 returns the address of the running S3 service. It asks for a key: see
// [Servers.S3AccessKey].
func S3(t testing.TB) string {
	t.Helper()
	return running(t, "S3", Get(t).S3)
}

// Folder returns where a running server keeps its files: what is "kafka",
// "cassandra", "redis" or "s3".
func Folder(t testing.TB, what string) string {
	t.Helper()
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, ".cache", "services", "run", what)
}

func running(t testing.TB, name, address string) string {
	t.Helper()
	if err := reach(name, address); err != nil {
		t.Fatal(err)
	}
	return address
}

func reach(name, address string) error {
	if address == "" {
		return fmt.Errorf("%s does not run: run make services", name)
	}
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return fmt.Errorf("%s ran and does not any more (%w): run make services", name, err)
	}
	return conn.Close()
}

// findRoot goes up from the working folder, which is the tested package's, to
// the folder that has the script.
func findRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, script)); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no %s in %s nor above it", script, start)
		}
	}
}

func read(file string) (Servers, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return Servers{}, errors.New("no servers were started here: run make services")
	}
	if err != nil {
		return Servers{}, err
	}
	return parse(string(text))
}

// parse reads KEY=VALUE lines; a value goes to the end of its line. Keys that
// no test asked for yet are passed over.
func parse(text string) (Servers, error) {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		key, value, found := strings.Cut(line, "=")
		if !found {
			return Servers{}, fmt.Errorf("%q is no KEY=VALUE: run make services-stop services", line)
		}
		values[key] = value
	}
	var s Servers
	fields := reflect.ValueOf(&s).Elem()
	for i := range fields.NumField() {
		fields.Field(i).SetString(values[fields.Type().Field(i).Tag.Get("env")])
	}
	return s, nil
}
