package admin

import (
	"strconv"

	"github.com/rookery-chat/rookery/internal/delivery"
	"github.com/rookery-chat/rookery/internal/delivery/rpc"
	"github.com/rookery-chat/rookery/internal/presence/redis"
	"github.com/rookery-chat/rookery/internal/push"
	"github.com/rookery-chat/rookery/pipeline/kafka"
	"github.com/rookery-chat/rookery/storage/cql"
)

// Kafka are the metrics of the log on Kafka.
func Kafka(snapshot func() kafka.Stats) Metrics {
	type s = kafka.Stats
	per := func(name, help string, f func(s) []int64) row[s] {
		return by(gauge, name, "partition", help, func(s s, emit func(string, float64)) {
			for p, v := range f(s) {
				if v >= 0 {
					emit(strconv.Itoa(p), float64(v))
				}
			}
		})
	}
	return collector(snapshot, []row[s]{
		count("rookery_kafka_records_total", "Records appended and durable.", func(s s) uint64 { return s.Records }),
		count("rookery_kafka_appends_total", "Appends that brought them: Kafka's own records.", func(s s) uint64 { return s.Appends }),
		count("rookery_kafka_batches_total", "Batches that brokers took.", func(s s) uint64 { return s.Batches }),
		count("rookery_kafka_bytes_total", "Bytes of these records, uncompressed.", func(s s) uint64 { return s.Bytes }),
		count("rookery_kafka_errors_total", "Batches that brokers refused and that were tried again.", func(s s) uint64 { return s.Errors }),
		count("rookery_kafka_refused_total", "Appends refused because too much waits for brokers.", func(s s) uint64 { return s.Full }),
		count("rookery_kafka_dead_letters_total", "Records that cannot be decoded. Any is a fault.", func(s s) uint64 { return s.DeadLetters }),
		count("rookery_kafka_lost_letters_total", "Of them those that could not be kept for an operator.", func(s s) uint64 { return s.LostLetters }),
		count("rookery_kafka_partitions_gained_total", "Partitions given to this process.", func(s s) uint64 { return s.Gained }),
		count("rookery_kafka_partitions_lost_total", "Partitions taken from it.", func(s s) uint64 { return s.Lost }),
		level("rookery_kafka_queued_bytes", "Records that are not durable yet.", func(s s) int64 { return s.QueueBytes }),
		level("rookery_kafka_fetched_bytes", "Records that are fetched and not read by their owner.", func(s s) int64 { return s.FetchedBytes }),
		per("rookery_kafka_lag_appends", "Kafka's records of an owned partition that are not stored.", func(s s) []int64 { return s.PartitionLag }),
	})
}

// CQL are the metrics of the store on ScyllaDB or Cassandra.
func CQL(snapshot func() cql.Stats) Metrics {
	type s = cql.Stats
	return collector(snapshot, []row[s]{
		level("rookery_cql_nodes_up", "Nodes that answer.", func(s s) int { return s.NodesUp }),
		level("rookery_cql_in_flight", "Requests under way.", func(s s) int { return s.InFlight }),
		level("rookery_cql_in_flight_max", "Requests that may be under way.", func(s s) int { return s.InFlightMax }),
		count("rookery_cql_requests_total", "Requests made.", func(s s) uint64 { return s.RequestsTotal }),
		count("rookery_cql_errors_total", "Requests that failed, with their retries.", func(s s) uint64 { return s.ErrorsTotal }),
		count("rookery_cql_rows_total", "Rows stored.", func(s s) uint64 { return s.RowsTotal }),
		count("rookery_cql_batches_total", "Requests that stored more than one row.", func(s s) uint64 { return s.BatchesTotal }),
		count("rookery_cql_reconnects_total", "Sessions made anew because no node was left.", func(s s) uint64 { return s.ReconnectsTotal }),
	})
}

// Directory are the metrics of presence on Redis.
func Directory(stats *redis.Stats) Metrics {
	type s = *redis.Stats
	return collector(func() s { return stats }, []row[s]{
		count("rookery_presence_calls_total", "Calls of Redis, each with all that goes in one.", func(s s) uint64 { return s.Calls.Load() }),
		count("rookery_presence_errors_total", "Of them those that failed, timeouts with them.", func(s s) uint64 { return s.Errors.Load() }),
		count("rookery_presence_timeouts_total", "Calls without an answer in time.", func(s s) uint64 { return s.Timeouts.Load() }),
		count("rookery_presence_rejected_total", "Calls not made because Redis does not answer, or too many are under way.", func(s s) uint64 { return s.Rejected.Load() }),
		count("rookery_presence_away_total", "Times Redis was given up for a while.", func(s s) uint64 { return s.Opened.Load() }),
		count("rookery_presence_cache_hits_total", "Users whose location was known here.", func(s s) uint64 { return s.CacheHits.Load() }),
		count("rookery_presence_cache_misses_total", "Users whose location was asked for.", func(s s) uint64 { return s.Misses.Load() }),
		count("rookery_presence_leases_taken_total", "Leases of this gateway.", func(s s) uint64 { return s.LeasesTaken.Load() }),
		count("rookery_presence_leases_lost_total", "Leases lost; its sessions are registered again.", func(s s) uint64 { return s.LeasesLost.Load() }),
		count("rookery_presence_reregistered_total", "Sessions registered in the background.", func(s s) uint64 { return s.Reregistered.Load() }),
		count("rookery_presence_superseded_total", "Of them those that found a newer one.", func(s s) uint64 { return s.Superseded.Load() }),
		count("rookery_presence_overflows_total", "Failed calls for which there was no place: everything is registered again.", func(s s) uint64 { return s.Overflows.Load() }),
		count("rookery_presence_cleaned_total", "Entries of gateways that have gone, removed.", func(s s) uint64 { return s.Cleaned.Load() }),
		count("rookery_presence_events_total", "Comings and goings heard of watched users.", func(s s) uint64 { return s.Events.Load() }),
		count("rookery_presence_gaps_total", "Times when some may have been missed.", func(s s) uint64 { return s.Gaps.Load() }),
		count("rookery_presence_reads_total", "Watched users read to repair that.", func(s s) uint64 { return s.Reads.Load() }),
	})
}

// Remote are the metrics of hints on their way to gateways.
func Remote(stats func() *delivery.RemoteStats) Metrics {
	type s = *delivery.RemoteStats
	return collector(stats, []row[s]{
		count("rookery_hints_sent_total", "Hints handed to a gateway, or to this process.", func(s s) uint64 { return s.Sent.Load() }),
		count("rookery_hints_nowhere_total", "Hints of users with no session anywhere.", func(s s) uint64 { return s.Nowhere.Load() }),
		count("rookery_hints_to_all_total", "Hints handed to every gateway, as the directory did not answer.", func(s s) uint64 { return s.ToAll.Load() }),
		by(counter, "rookery_hints_dropped_total", "reason", "Hints not sent; the sessions find the entries by themselves.",
			func(s s, emit func(string, float64)) {
				emit("queue_full", float64(s.DroppedQueue.Load()))
				emit("directory_away", float64(s.DroppedWhere.Load()))
			}),
	})
}

// Peers are the metrics of the links to other gateways.
func Peers(stats *rpc.Stats) Metrics {
	type s = *rpc.Stats
	return collector(func() s { return stats }, []row[s]{
		level("rookery_peers", "Gateways that this process is linked to.", func(s s) int64 { return s.Peers.Load() }),
		level("rookery_peers_queued_bytes", "Bytes that gateways have not taken yet.", func(s s) int64 { return s.Bytes.Load() }),
		count("rookery_peers_frames_total", "Frames sent.", func(s s) uint64 { return s.Frames.Load() }),
		count("rookery_peers_items_total", "Hints and others in them.", func(s s) uint64 { return s.Items.Load() }),
		count("rookery_peers_stale_total", "Users that were not where they were sought.", func(s s) uint64 { return s.Stale.Load() }),
		count("rookery_peers_breaks_total", "Links that broke, and attempts that failed.", func(s s) uint64 { return s.Breaks.Load() }),
		by(counter, "rookery_peers_dropped_total", "reason", "Hints and others not sent.",
			func(s s, emit func(string, float64)) {
				emit("queue_full", float64(s.DroppedFull.Load()))
				emit("too_large", float64(s.DroppedLarge.Load()))
				emit("link_broke", float64(s.DroppedBroken.Load()))
				emit("unreachable", float64(s.DroppedUnreachable.Load()))
				emit("closed", float64(s.DroppedClosed.Load()))
			}),
	})
}

// Links are the metrics of the links that other processes have to this gateway.
func Links(stats *rpc.ServerStats) Metrics {
	type s = *rpc.ServerStats
	return collector(func() s { return stats }, []row[s]{
		level("rookery_links", "Links open to this gateway.", func(s s) int64 { return s.Links.Load() }),
		count("rookery_links_frames_total", "Frames taken.", func(s s) uint64 { return s.Frames.Load() }),
		count("rookery_links_hints_total", "Hints in them.", func(s s) uint64 { return s.Hints.Load() }),
		count("rookery_links_unknown_total", "Hints of a later version, of which nothing is known here.", func(s s) uint64 { return s.Unknown.Load() }),
		count("rookery_links_absent_total", "Users that were not here; their location is corrected.", func(s s) uint64 { return s.Absent.Load() }),
		count("rookery_links_faults_total", "Links ended for what came on them, or for a fault here.", func(s s) uint64 { return s.Faults.Load() }),
	})
}

// Push are the metrics of the notices for devices that are not connected.
func Push(stats *push.Stats) Metrics {
	type s = *push.Stats
	return collector(func() s { return stats }, []row[s]{
		count("rookery_push_offered_total", "Messages to users with no session anywhere.", func(s s) uint64 { return s.Offered.Load() }),
		count("rookery_push_collapsed_total", "Of them those that joined a notice that waited.", func(s s) uint64 { return s.Collapsed.Load() }),
		count("rookery_push_sent_total", "Pushes that a provider took.", func(s s) uint64 { return s.Sent.Load() }),
		count("rookery_push_retries_total", "Pushes tried again.", func(s s) uint64 { return s.Retries.Load() }),
		level("rookery_push_waiting", "Notices that wait or are at work.", func(s s) int64 { return s.Waiting.Load() }),
		by(counter, "rookery_push_dropped_total", "reason", "Notices that became no push.",
			func(s s, emit func(string, float64)) {
				for _, r := range push.Reasons() {
					emit(r.String(), float64(s.Dropped(r)))
				}
			}),
	})
}
