package plan

import (
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/config"
)

// Assumption is a figure that nobody measured here: its default, and where that
// comes from. --set changes it.
type Assumption struct {
	Name    string  `json:"name"`
	Unit    string  `json:"unit,omitempty"`
	Default float64 `json:"default"`
	Min     float64 `json:"min"`
	Max     float64 `json:"max"`
	What    string  `json:"what"`
	Why     string  `json:"why"` // the reference
}

const (
	gib  = 1 << 30
	huge = 1e18
)

// Assumptions returns the table, in the order of the documents.
func Assumptions() []Assumption { return append(fleetAssumptions(), simulationAssumptions()...) }

func fleetAssumptions() []Assumption {
	c := config.Default()
	return []Assumption{
		{"zones", UnitCount, 3, 1, 100, "zones that the fleet is spread over", "three copies of log and store, one in each"},
		{"zones_lost", UnitCount, 1, 0, 99, "zones that may be lost without losing capacity", "the usual promise; 0 leaves N+spare_hosts"},
		{"spare_hosts", UnitCount, 1, 0, 1e6, "hosts of each kind that may be lost or under upgrade besides", "N+1"},
		{"cpu_use", UnitShare, 0.5, 0.01, 1, "share of a host's cores that the load may take", "queues grow with 1/(1−use); half leaves them short and leaves room for what comes at once"},
		{"nic_bytes", UnitBytesPS, 1.25e9, 1e6, 1e12, "what a host's network carries, each way", "10 Gbit/s"},
		{"nic_use", UnitShare, 0.5, 0.01, 1, "share of it that the load may take", "bursts, and what moves when a host is replaced"},
		{"memory_use", UnitShare, 0.7, 0.01, 1, "share of a host's memory that sessions may take", "the rest is the kernel, buffers and the collector's room"},

		{"silent_share", UnitShare, 0, 0, 1, "sessions that have had no message since they connected", "100 B messages a day are one to each of 100 M sessions in 86 s"},
		{"kernel_bytes_per_socket", UnitBytes, 5100, 0, 1e6, "kernel memory of an idle TCP socket", "one end of a loopback connection on Linux 6.18"},
		{"gateway_sessions", UnitCount, 1e6, 1, 1e9, "sessions that a gateway host is filled with at most", "the aim: 100 hosts of a million; what is lost with one host"},
		{"gateway_cores", UnitCores, 8, 1, 1024, "cores of a gateway host", "a common size"},
		{"gateway_memory", UnitBytes, 32 * gib, gib, 1e14, "memory of a gateway host", "a common size"},
		{"heartbeat_seconds", UnitS, c.Session.Heartbeat.Seconds(), 1, 3600, "silence after which a session is pinged", "session.heartbeat's default; every session counts as silent, so this is the most there can be"},
		{"heartbeat_us", UnitUs, 15, 0, 1e6, "processor time of a ping and its pong", "a write and a read of 6 to 9 µs, as one leg of loopback costs"},
		{"envelope_bytes", UnitBytes, 40, 0, 1e6, "what a packet adds to the content, in each direction", "docs/protocol.md; the most that an accepted message of 100 bytes may cost"},
		{"packet_bytes", UnitBytes, 60, 0, 1e6, "headers of Ethernet, IP, TCP and WebSocket, of one packet", "14 + 20 + 20 + 6, no options"},
		{"small_packets", UnitCount, 4, 0, 100, "packets of about envelope_bytes beside a message: two acknowledgements, mark, receipt", "the way of a message in ARCHITECTURE.md; TCP's own acknowledgements ride along"},

		{"owner_cores", UnitCores, 16, 1, 1024, "cores of a processor host", "a common size"},
		{"owner_memory", UnitBytes, 32 * gib, gib, 1e14, "memory of a processor host", "a common size"},
		{"partition_use", UnitShare, 0.5, 0.01, 1, "share of its time that a partition's owner may be at work", "one goroutine each; the same reason as cpu_use"},

		{"broker_cores", UnitCores, 16, 1, 1024, "cores of a broker", "a common size"},
		{"broker_memory", UnitBytes, 64 * gib, gib, 1e14, "memory of a broker", "page cache for what consumers have not read"},
		{"broker_disk", UnitBytes, 8e12, 1e9, 1e15, "disk of a broker", "two NVMe drives"},
		{"broker_disk_write", UnitBytesPS, 1e9, 1e6, 1e12, "what a broker's disk writes", "a data-centre NVMe drive in sequence, for hours"},
		{"disk_use", UnitShare, 0.7, 0.01, 1, "share of a broker's disk, and of its writes, that the load may take", "segments that are not deleted yet, and replicas that catch up"},
		{"log_replication", UnitCount, 3, 1, 9, "copies of the log", "law 9: RF 3, min ISR 2"},
		{"follower_share", UnitShare, 0.5, 0, 1, "what a further copy costs a broker's cores, of what the first costs", "a follower fetches what is batched already; measured were single copies"},
		{"log_records", UnitCount, 3, 1, 100, "records of the log for a message: itself, its mark, its receipt", "docs/performance.md, trickle"},
		{"log_record_bytes", UnitBytes, 50, 0, 1e6, "what a record adds to its content", "the log was measured with records of 150 bytes for 100"},
		{"log_days", UnitDays, 1, 0.01, 365, "how long the log keeps what is applied", "long enough for a store that is away overnight"},

		{"store_cores", UnitCores, 32, 1, 1024, "cores of a store node", "a storage-dense size"},
		{"store_memory", UnitBytes, 256 * gib, gib, 1e14, "memory of a store node", "a storage-dense size"},
		{"store_disk", UnitBytes, 60e12, 1e9, 1e16, "disk of a store node", "eight NVMe drives of 7.5 TB; more needs more memory for filters and indexes"},
		{"store_use", UnitShare, 0.7, 0.01, 1, "share of it that may be filled", "compaction writes a window anew before it deletes the old one, and a node may have to take over from a lost one"},
		{"row_bytes", UnitBytes, 96, 0, 1e6, "what a row of messages has beside its content", "storage/cql/schema.go: id 16, sender and receiver 16 each, three times of 8, status and suite 2, row flags, cell flags and timestamp about 22"},
		{"inbox_bytes", UnitBytes, 70, 0, 1e6, "a row of the inbox", "the same: user shared, position 8, kind 1, peer 16, id 16, two of 8, flags about 13"},
		{"inbox_days", UnitDays, c.Retention.Inbox.Hours() / 24, 0, 3650, "how long the inbox keeps entries", "retention.inbox's default"},
		{"content_ratio", UnitShare, 1, 0.01, 1, "content after compression, of its size before", "law 17: it is ciphertext, which does not compress"},
		{"columns_ratio", UnitShare, 0.5, 0.01, 1, "the rest of a row after compression", "LZ4 or zstd on names and times that repeat; to be measured on real rows"},

		{"presence_bytes", UnitBytes, 200, 1, 1e6, "memory of a session in Redis", "a hash entry with key, gateway, epoch and number"},
		{"presence_copies", UnitCount, 2, 1, 9, "copies of it", "a primary and a replica"},
		{"presence_lookups", UnitShare, 1, 0, 1, "messages that ask Redis where their receiver is", "the most: gateways that were found are remembered for a while"},
		{"redis_ops", UnitPerS, 100e3, 1e3, 1e8, "operations a second of one Redis process", "a core of it, pipelined, with room"},
		{"redis_memory", UnitBytes, 16 * gib, gib, 1e13, "memory of a Redis host", "a common size"},
		{"redis_cores", UnitCores, 2, 1, 64, "cores of a Redis host", "one is Redis, one the kernel"},

		{"balancer_cores", UnitCores, 16, 1, 1024, "cores of a balancer", "a common size"},
		{"balancer_memory", UnitBytes, 64 * gib, gib, 1e14, "memory of a balancer", "a common size"},
		{"balancer_session_bytes", UnitBytes, 33e3, 0, 1e6, "memory of a session in the balancer", "HAProxy: two buffers of 16 KiB; 0 where packets are balanced below TCP"},

		{"price_core", UnitPrice, 12, 0, 1e6, "a core for a month", "order of rented servers in 2026; only the proportions matter"},
		{"price_gib", UnitPrice, 2, 0, 1e6, "a GiB of memory for a month", "the same"},
		{"price_tb", UnitPrice, 25, 0, 1e6, "a TB of NVMe disk for a month", "the same"},
		{"price_gbps", UnitPrice, 100, 0, 1e6, "1 Gbit/s to the outside for a month, used all the time", "the same; transit, not a cloud's price for each GB"},
	}
}

func simulationAssumptions() []Assumption {
	c := config.Default()
	return []Assumption{
		{"accept_per_second", UnitPerS, float64(c.Engine.AcceptPerSecond), 0, 1e6, "sockets that a gateway accepts a second; more are closed at once", "engine.accept_per_second's default; 0 is no limit"},
		{"readers", UnitCount, float64(c.Session.Readers), 1, 1024, "workers that read the store for a gateway's sessions", "session.readers' default"},
		{"jobs", UnitCount, 16384, 1, 1e9, "hellos and pages that may wait for them; more are told to come back", "internal/gateway: Jobs"},
		{"hello_reads", UnitCount, 5, 0, 1000, "calls one after another in a hello: devices twice, directory, place, applied", "internal/gateway: join"},
		{"page_reads", UnitCount, 4, 0, 1000, "calls one after another in a page of catch-up: applied, inbox, messages, receipts", "internal/gateway: readPage"},
		{"pages", UnitCount, 1, 0, 1e6, "pages that a session which comes back catches up with", "away for a minute it has missed few entries"},
		{"read_ms", UnitMs, 1.5, 0.01, 1e5, "a call to store or directory from a gateway", "a round trip to another zone and two replicas' answers"},
		{"rtt_ms", UnitMs, 0.5, 0, 1e4, "a round trip between hosts", "zones of one region; a Redis call took 0.5 ms on one machine"},
		{"linger_ms", UnitMs, float64(c.Kafka.Linger.Microseconds()) / 1000, 0, 1000, "between two ticks at which partitions are written, and asked for news", "kafka.linger's default"},
		{"append_messages", UnitCount, 16, 1, 256, "messages that a broker gets in one append", "what a loop gathers for a partition between two ticks; ARCHITECTURE.md"},
		{"commit_ms", UnitMs, 3, 0, 1e5, "until an append stands on all in-sync copies, mean; half of it varies", "two round trips and two writes to page cache"},
		{"store_write_ms", UnitMs, 3, 0.01, 1e5, "until the rows of a cycle stand on a quorum", "a round trip to another zone, and a write to the commit log"},
		{"service_cv", UnitShare, 1, 0, 1, "how service times vary: standard deviation of mean", "0% is the same each time (M/D/1), 100% exponential (M/M/1); only means were measured, so the worse"},
		{"balancer_ms", UnitMs, 1000, 0, 1e6, "until a dead gateway's sessions are cut", "deploy/haproxy.cfg: inter 500ms, fall 2, shutdown-sessions"},
		{"backoff_min_ms", UnitMs, float64(client.DefaultBackoffMin.Milliseconds()), 1, 1e6, "ceiling of the first wait before coming back; it doubles with each failure", "client.DefaultBackoffMin: full jitter, random from nothing to the ceiling"},
		{"backoff_max_ms", UnitMs, float64(client.DefaultBackoffMax.Milliseconds()), 1, 1e7, "the most that the ceiling becomes", "client.DefaultBackoffMax"},
		{"dial_ms", UnitMs, float64(client.DefaultDialTimeout.Milliseconds()), 1, 1e7, "a client gives up a connection without a welcome after", "client.DefaultDialTimeout"},
		{"busy_ms", UnitMs, float64(c.Drain.Retry.Milliseconds()), 0, 1e7, "who is told to come back waits a random part of this, or the back-off if that is longer", "drain.retry's default"},
		{"drain_seconds", UnitS, c.Drain.Grace.Seconds(), 0, 3600, "a gateway that is upgraded says goodbye over half of this", "drain.grace's default"},
		{"restart_seconds", UnitS, 15, 0, 3600, "until an upgraded gateway takes sessions again", "start, and the balancer's rise 2 and slowstart 10s"},
		{"upgrade_share", UnitShare, 0.05, 0.001, 1, "gateways that are upgraded at once", "twenty steps; more needs more spare hosts"},
		{"failover_seconds", UnitS, 10, 0, 600, "until a dead broker's partitions take appends again", "KRaft's broker.session.timeout.ms of 9 s, and an election"},
		{"session_seconds", UnitS, c.Kafka.SessionTimeout.Seconds(), 0, 600, "until a dead processor's partitions are given to others", "kafka.session_timeout's default"},
		{"takeover_seconds", UnitS, 2, 0, 600, "until the new owner has its mark and is at work", "some reads, and the last records once more"},
		{"newyear_load", UnitFactor, 5, 1, 1000, "New Year's Eve, of the usual load", "the scenario's own number"},
		{"newyear_minutes", UnitCount, 10, 1, 120, "minutes that it lasts", "the peak of it"},
	}
}
