package admin

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/engine"
	"github.com/rookery-chat/rookery/internal/auth"
	"github.com/rookery-chat/rookery/internal/delivery"
	"github.com/rookery-chat/rookery/internal/delivery/rpc"
	"github.com/rookery-chat/rookery/internal/gateway"
	"github.com/rookery-chat/rookery/internal/media"
	"github.com/rookery-chat/rookery/internal/presence/redis"
	"github.com/rookery-chat/rookery/internal/probe"
	"github.com/rookery-chat/rookery/internal/push"
	"github.com/rookery-chat/rookery/internal/web"
	"github.com/rookery-chat/rookery/pipeline/kafka"
	"github.com/rookery-chat/rookery/pipeline/local"
	"github.com/rookery-chat/rookery/shard"
	"github.com/rookery-chat/rookery/storage/cql"
	"github.com/rookery-chat/rookery/storage/pebble"
)

var update = flag.Bool("update", false, "rewrite the generated parts of the documents")

// all returns every metric there is, over snapshots of a server that has done
// little.
func all() []Metrics {
	var g gateway.Stats
	g.Refused[chat.CodeOverloaded].Add(7)
	g.Byes[chat.CodeBadPacket].Add(3)
	return []Metrics{
		Engine(func() engine.Stats { return engine.Stats{Open: 5, Accepted: 9} }),
		Gateway(&g),
		Auth(&auth.Stats{}),
		Delivery(&delivery.Stats{}),
		Probe(func() probe.Stats {
			var s probe.Stats
			for i := range s.Took {
				s.Took[i].Counts = make([]uint64, len(probe.Buckets)+1)
			}
			return s
		}),
		Shards(func() []shard.PartitionStats {
			return []shard.PartitionStats{{Lag: 3}, {Partition: 1, Lag: 4, Halted: true}}
		}),
		Log(func() local.Stats {
			s := local.Stats{SyncTime: 3 * time.Second, PartitionHeld: []int64{6}}
			s.SyncCounts[0], s.SyncCounts[1], s.SyncCounts[len(local.SyncBuckets)] = 2, 3, 4
			return s
		}),
		Store(func() pebble.Stats { return pebble.Stats{DiskBytes: 1 << 20} }),
		Kafka(func() kafka.Stats { return kafka.Stats{PartitionLag: []int64{-1, 8}} }),
		CQL(func() cql.Stats { return cql.Stats{NodesUp: 1} }),
		Directory(&redis.Stats{}), Remote(func() *delivery.RemoteStats { return &delivery.RemoteStats{} }), Peers(&rpc.Stats{}), Links(&rpc.ServerStats{}), Push(&push.Stats{}), Web(&web.Stats{}), Media(&media.Stats{}),
	}
}

func TestScrape(t *testing.T) {
	s, url := start(t)
	s.Register(all()...)
	status, text := request(t, "GET", url+"/metrics", "")
	if status != 200 {
		t.Fatalf("%d\n%s", status, text)
	}
	for _, want := range []string{
		"rookery_connections 5\n", "rookery_connections_accepted_total 9\n",
		`rookery_sends_refused_total{code="overloaded"} 7`, `rookery_sends_refused_total{code="too_large"} 0`,
		`rookery_sessions_ended_total{code="idle"} 0`, `rookery_sessions_ended_total{code="bad_packet"} 3`,
		`rookery_partition_lag_positions{partition="1"} 4`, `rookery_partition_halted{partition="1"} 1`,
		"rookery_store_disk_bytes 1.048576e+06\n", "rookery_ready 0\n", `rookery_build_info{version="v1 go`,
		"rookery_log_sync_seconds_sum 3\n", "rookery_log_sync_seconds_count 9\n", `rookery_log_sync_seconds_bucket{le="+Inf"} 9`,
		fmt.Sprintf("rookery_log_sync_seconds_bucket{le=\"%v\"} 2\n", local.SyncBuckets[0].Seconds()),
		fmt.Sprintf("rookery_log_sync_seconds_bucket{le=\"%v\"} 5\n", local.SyncBuckets[1].Seconds()),
		`rookery_log_held_bytes{partition="0"} 6`, `rookery_kafka_lag_appends{partition="1"} 8`, "rookery_cql_nodes_up 1\n",
		"# TYPE rookery_connections_accepted_total counter", "process_open_fds",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	exposed := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (rookery_\w+)`).FindAllStringSubmatch(text, -1) {
		exposed[m[1]] = true
	}
	documented := map[string]bool{}
	for _, d := range documentation() {
		documented[d.name] = true
		if !exposed[d.name] {
			t.Errorf("%s is documented and not exposed", d.name)
		}
	}
	for name := range exposed {
		if !documented[name] {
			t.Errorf("%s is exposed and not documented", name)
		}
	}
}

// documentation is the lines of all metrics.
func documentation() []doc {
	docs := process("", func() bool { return true }).docs
	for _, m := range all() {
		docs = append(docs, m.docs...)
	}
	return docs
}

// TestDocumentedNames holds that alerts and runbook speak of metrics there are,
// and that each alert has its entry.
func TestDocumentedNames(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, d := range documentation() {
		known[d.name] = true
	}
	for _, name := range regexp.MustCompile(`rookery_[a-z0-9_]+`).FindAllString(string(text), -1) {
		if !known[name] && !known[strings.TrimSuffix(name, "_bucket")] {
			t.Errorf("there is no %s", name)
		}
	}
	alerts := regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(text), -1)
	if len(alerts) < 10 {
		t.Errorf("%d alerts", len(alerts))
	}
	for _, a := range alerts {
		if !strings.Contains(string(text), "\n**"+a[1]+".** ") {
			t.Errorf("the runbook has no entry for %s", a[1])
		}
	}
}

// TestNames holds Prometheus's customs: base units, and counters that say so.
func TestNames(t *testing.T) {
	good := regexp.MustCompile(`^rookery_[a-z0-9_]+$`)
	for _, d := range documentation() {
		if !good.MatchString(d.name) || strings.HasSuffix(d.name, "_total") != (d.kind == "counter") {
			t.Errorf("%s is a %s", d.name, d.kind)
		}
		if regexp.MustCompile(`_(ms|millis|us|ns|kb|mb|kib|mib|minutes)(_|$)`).MatchString(d.name) {
			t.Errorf("%s is not in a base unit", d.name)
		}
		if !strings.HasSuffix(d.help, ".") {
			t.Errorf("%s: no sentence of help", d.name)
		}
	}
}

const (
	tableBegin = "<!-- metrics: generated by go test ./internal/admin -update -->\n"
	tableEnd   = "<!-- end of metrics -->"
)

// TestDocumentedTable holds docs/operations.md to what is exposed.
func TestDocumentedTable(t *testing.T) {
	const path = "../../docs/operations.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), tableBegin)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatal("docs/operations.md lost the marks of the generated table")
	}
	b := strings.Builder{}
	b.WriteString("| metric | type | label | what it is |\n| --- | --- | --- | --- |\n")
	for _, d := range documentation() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.name, d.kind, d.label, d.help)
	}
	fresh := before + tableBegin + "\n" + b.String() + "\n" + tableEnd + after
	if fresh == string(text) {
		return
	}
	if !*update {
		t.Fatal("the table is not that of the metrics; run: go test ./internal/admin -update")
	}
	if err := os.WriteFile(path, []byte(fresh), 0o644); err != nil {
		t.Fatal(err)
	}
}
