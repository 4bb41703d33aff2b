package cql

import (
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	good := Options{Hosts: []string{"a:9043", "[::1]:9043"}, Keyspace: "chat", DC: "dc1", Rack: "r1"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	bad := Options{
		Hosts: []string{"a", "b:9043"}, Keyspace: "1chat", Rack: "r", Consistency: "ANY", Password: "p", CertFile: "c",
		Connections: 65, InFlight: 4097, Retries: 11, Speculations: 11, BatchRows: 1001, BatchBytes: 1 << 20,
		ConnectTimeout: -1, Timeout: 2 * time.Hour, SpeculateAfter: time.Nanosecond, SweepRefresh: time.Nanosecond,
		MessagesFor: 20 * 365 * day, InboxFor: time.Millisecond,
	}
	err := bad.Validate()
	if err == nil {
		t.Fatal("no fault")
	}
	for _, word := range []string{
		"same port", "Keyspace", "Rack", "Consistency", "Password", "CertFile", "Connections", "InFlight", "Retries",
		"Speculations", "BatchRows", "BatchBytes", "ConnectTimeout", " Timeout", "SpeculateAfter", "SweepRefresh", "MessagesFor", "InboxFor",
	} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("nothing of %s", word)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 18 {
		t.Errorf("%d faults:\n%v", n, err)
	}
	if err := (Options{Keyspace: "chat"}).Validate(); err == nil {
		t.Error("no host is no fault")
	}
}
