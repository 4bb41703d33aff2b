package admin

import (
	"strconv"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/engine"
	"github.com/rookery-chat/rookery/internal/delivery"
	"github.com/rookery-chat/rookery/internal/gateway"
	"github.com/rookery-chat/rookery/pipeline/local"
	"github.com/rookery-chat/rookery/shard"
	"github.com/rookery-chat/rookery/storage/pebble"
)

// Engine are the metrics of the event loops.
func Engine(snapshot func() engine.Stats) Metrics {
	type s = engine.Stats
	return collector(snapshot, []row[s]{
		level("rookery_connections", "Open sockets.", func(s s) int64 { return s.Open }),
		level("rookery_connections_max", "Sockets that may be open.", func(s s) int64 { return s.MaxConns }),
		level("rookery_connections_blocked", "Open sockets that take no more output now.", func(s s) int64 { return s.Blocked }),
		count("rookery_connections_accepted_total", "Sockets accepted.", func(s s) uint64 { return s.Accepted }),
		count("rookery_connections_rejected_total", "Sockets closed at once: too many, too fast, or draining.", func(s s) uint64 { return s.Rejected }),
		count("rookery_connections_closed_total", "Accepted sockets that have ended.", func(s s) uint64 { return s.Closed }),
		count("rookery_connections_slow_total", "Sockets closed with more unsent output than allowed.", func(s s) uint64 { return s.Slow }),
		count("rookery_handler_panics_total", "Panics that cost one connection each. Any is a fault of the program.", func(s s) uint64 { return s.Panics }),
		count("rookery_socket_reads_total", "Reads from sockets.", func(s s) uint64 { return s.Reads }),
		count("rookery_socket_writes_total", "Writes to sockets.", func(s s) uint64 { return s.Writes }),
		count("rookery_received_bytes_total", "Bytes read from sockets.", func(s s) uint64 { return s.BytesIn }),
		count("rookery_sent_bytes_total", "Bytes written to sockets.", func(s s) uint64 { return s.BytesOut }),
		level("rookery_unsent_bytes", "Output that waits for sockets.", func(s s) int64 { return s.UnsentBytes }),
		count("rookery_loop_turns_total", "Turns of the event loops.", func(s s) uint64 { return s.Turns }),
		count("rookery_loop_posts_total", "Functions that were posted to event loops.", func(s s) uint64 { return s.Posts }),
	})
}

// Gateway are the metrics of the sessions.
func Gateway(stats *gateway.Stats) Metrics {
	type s = *gateway.Stats
	return collector(func() s { return stats }, []row[s]{
		level("rookery_sessions", "Sessions that have been welcomed.", func(s s) int64 { return s.Sessions.Load() }),
		count("rookery_handshakes_refused_total", "Handshakes refused or too slow.", func(s s) uint64 { return s.RefusedHandshake.Load() }),
		count("rookery_addresses_refused_total", "Sockets over the limit of unauthenticated ones of an address.", func(s s) uint64 { return s.RefusedAddress.Load() }),
		count("rookery_proxy_refused_total", "Connections of trusted balancers that did not say whose they are.", func(s s) uint64 { return s.RefusedProxy.Load() }),
		count("rookery_websocket_messages_total", "WebSocket messages received.", func(s s) uint64 { return s.MessagesIn.Load() }),
		count("rookery_sends_total", "Chat messages taken from sessions.", func(s s) uint64 { return s.Sends.Load() }),
		count("rookery_sends_accepted_total", "Chat messages acknowledged as durable.", func(s s) uint64 { return s.Accepted.Load() }),
		by(counter, "rookery_sends_refused_total", "code", "Chat messages refused, by error code.",
			func(s s, emit func(string, float64)) {
				emitCodes(1, 99, emit, func(c chat.Code) uint64 { return s.Refused[c].Load() })
			}),
		count("rookery_delivered_live_total", "Entries written to sessions as they came.", func(s s) uint64 { return s.Delivered.Load() }),
		count("rookery_delivered_catch_up_total", "Entries written to sessions from the store.", func(s s) uint64 { return s.CaughtUpEntries.Load() }),
		count("rookery_sessions_fell_behind_total", "Times a session fell into catch-up.", func(s s) uint64 { return s.FellBehind.Load() }),
		count("rookery_audited_sessions_total", "Sessions whose place was compared with the head of their chain.", func(s s) uint64 { return s.Audited.Load() }),
		count("rookery_audit_behind_total", "Of them those that a lost hint had left behind; they caught up.", func(s s) uint64 { return s.AuditBehind.Load() }),
		count("rookery_devices_revoked_total", "Devices that their users revoked at this gateway.", func(s s) uint64 { return s.DevicesRevoked.Load() }),
		count("rookery_sessions_replaced_total", "Sessions taken over by a newer one of their device.", func(s s) uint64 { return s.Replaced.Load() }),
		by(counter, "rookery_sessions_ended_total", "code", "Sessions that the server ended, by error code.",
			func(s s, emit func(string, float64)) {
				emitCodes(1, 255, emit, func(c chat.Code) uint64 { return s.Byes[c].Load() })
			}),
		count("rookery_devices_changed_total", "Hellos with another clock sequence than before: installed again, or a clone.", func(s s) uint64 { return s.DeviceChanged.Load() }),
		count("rookery_log_full_total", "Batches that the log did not take at once.", func(s s) uint64 { return s.LogFull.Load() }),
		count("rookery_epoch_settled_total", "Batches acknowledged only once it was known that they are where they belong in the next epoch.", func(s s) uint64 { return s.Settled.Load() }),
		count("rookery_requests_failed_total", "Requests that were answered with an error.", func(s s) uint64 { return s.Errors.Load() }),
	})
}

// emitCodes emits a value for every code of a range, those that never happened
// too: a series that starts at its first increment hides it from rate().
func emitCodes(from, to chat.Code, emit func(string, float64), load func(chat.Code) uint64) {
	for _, c := range chat.Codes() {
		if c >= from && c <= to {
			emit(c.String(), float64(load(c)))
		}
	}
}

// Delivery are the metrics of delivery in this process.
func Delivery(stats *delivery.Stats) Metrics {
	type s = *delivery.Stats
	return collector(func() s { return stats }, []row[s]{
		count("rookery_delivery_posted_total", "Packets given to sessions here.", func(s s) uint64 { return s.Posted.Load() }),
		count("rookery_delivery_nowhere_total", "Entries of users who were not connected.", func(s s) uint64 { return s.Nowhere.Load() }),
	})
}

// Log are the metrics of the embedded log.
func Log(snapshot func() local.Stats) Metrics {
	type s = local.Stats
	return collector(snapshot, []row[s]{
		count("rookery_log_records_total", "Records made durable.", func(s s) uint64 { return s.Records }),
		count("rookery_log_record_bytes_total", "Bytes of these records.", func(s s) uint64 { return s.RecordBytes }),
		count("rookery_log_disk_bytes_total", "Bytes written to disk for them.", func(s s) uint64 { return s.DiskBytes }),
		{name: "rookery_log_sync_seconds", help: "Time of a commit: one write and one sync, for which every acknowledgement waits.",
			histogram: func(s s) histogram { return syncHistogram(&s) }},
		level("rookery_log_queue_bytes", "Records that are not durable yet.", func(s s) int64 { return s.QueueBytes }),
		level("rookery_log_queue_batches", "Batches that are not durable yet.", func(s s) int { return s.QueueBatches }),
		by(gauge, "rookery_log_held_bytes", "partition", "Records in memory that their owner has not stored. At pipeline.partition_bytes sends are refused.",
			func(s s, emit func(string, float64)) {
				for p, n := range s.PartitionHeld {
					emit(strconv.Itoa(p), float64(n))
				}
			}),
		count("rookery_log_refused_total", "Batches refused because a partition is full.", func(s s) uint64 { return s.Full }),
		level("rookery_log_segments", "Files of the log.", func(s s) int { return s.Segments }),
		level("rookery_log_segments_idle", "Of these, those that are kept to be written over.", func(s s) int { return s.IdleSegments }),
		count("rookery_log_segments_recycled_total", "Files written over.", func(s s) uint64 { return s.Recycled }),
		count("rookery_log_segments_deleted_total", "Files deleted.", func(s s) uint64 { return s.Deleted }),
		count("rookery_log_prepare_errors_total", "Failures to make a file ready. The disk may be full.", func(s s) uint64 { return s.PrepareErrors }),
		level("rookery_log_epoch", "Epoch of the log; it grows when the log was lost.", func(s s) int { return int(s.Epoch) }),
	})
}

func syncHistogram(s *local.Stats) histogram {
	h := histogram{counts: s.SyncCounts[:], sum: s.SyncTime.Seconds()}
	for _, bound := range local.SyncBuckets {
		h.bounds = append(h.bounds, bound.Seconds())
	}
	return h
}

// Shards are the metrics of the partitions' owners.
func Shards(snapshot func() []shard.PartitionStats) Metrics {
	type p = shard.PartitionStats
	per := func(kind kind, name, help string, f func(p) float64) row[[]p] {
		return by(kind, name, "partition", help, func(all []p, emit func(string, float64)) {
			for i := range all {
				emit(strconv.Itoa(all[i].Partition), f(all[i]))
			}
		})
	}
	return collector(snapshot, []row[[]p]{
		per(gauge, "rookery_partition_lag_positions", "Positions of the log that are not stored yet: records of the local log; on Kafka an append takes 256.", func(s p) float64 { return float64(s.Lag) }),
		per(gauge, "rookery_partition_applied_offset", "Offset up to which everything is stored and shown.", func(s p) float64 { return float64(s.Applied.Offset()) }),
		per(gauge, "rookery_partition_end_offset", "Offset of the log's last durable record.", func(s p) float64 { return float64(s.End.Offset()) }),
		per(gauge, "rookery_partition_epoch", "Epoch of the log.", func(s p) float64 { return float64(s.End.Epoch()) }),
		per(gauge, "rookery_partition_halted", "1 when the partition has stopped for good; the log says why.", func(s p) float64 { return one(s.Halted) }),
		per(counter, "rookery_partition_records_total", "Records read from the log.", func(s p) float64 { return float64(s.Records) }),
		per(counter, "rookery_partition_bytes_total", "Bytes of these records.", func(s p) float64 { return float64(s.Bytes) }),
		per(counter, "rookery_partition_batches_total", "Batches stored.", func(s p) float64 { return float64(s.Cycles) }),
		per(gauge, "rookery_partition_batch_records_max", "Records of the largest batch so far.", func(s p) float64 { return float64(s.Largest) }),
		per(counter, "rookery_partition_applies_total", "Writes to the store that went well.", func(s p) float64 { return float64(s.Applies) }),
		per(counter, "rookery_partition_apply_seconds_total", "Time spent in these writes. A hot partition stands out here.", func(s p) float64 { return s.ApplyTime.Seconds() }),
		per(counter, "rookery_partition_messages_total", "Messages stored.", func(s p) float64 { return float64(s.Messages) }),
		per(counter, "rookery_partition_duplicates_total", "Messages that had been stored before.", func(s p) float64 { return float64(s.Duplicates) }),
		per(counter, "rookery_partition_conflicts_total", "Messages with the id of another.", func(s p) float64 { return float64(s.Conflicts) }),
		per(counter, "rookery_partition_copies_total", "Copies for senders' other devices.", func(s p) float64 { return float64(s.Copies) }),
		per(counter, "rookery_partition_refused_total", "Messages that a group did not take, and changes of blocks that were not made.", func(s p) float64 { return float64(s.Refused) }),
		per(counter, "rookery_partition_unseen_total", "Messages to who has blocked their sender.", func(s p) float64 { return float64(s.Unseen) }),
		per(counter, "rookery_partition_fanouts_total", "Messages of groups, taken for members of the partition.", func(s p) float64 { return float64(s.Fanouts) }),
		per(counter, "rookery_partition_gone_total", "Of these, those that had expired before.", func(s p) float64 { return float64(s.Gone) }),
		per(counter, "rookery_partition_waits_total", "Looks at another partition, whose message of a group is not there yet: after a power cut.", func(s p) float64 { return float64(s.Waits) }),
		per(counter, "rookery_partition_repeats_total", "Copies that had been taken before.", func(s p) float64 { return float64(s.Repeats) }),
		per(counter, "rookery_partition_receipts_total", "Records that changed a receipt.", func(s p) float64 { return float64(s.Receipts) }),
		per(counter, "rookery_partition_dead_letters_total", "Records that cannot be decoded. Any is a fault.", func(s p) float64 { return float64(s.DeadLetters) }),
		per(counter, "rookery_partition_derived_total", "Records that the owner appended to the log.", func(s p) float64 { return float64(s.Derived) }),
		per(counter, "rookery_partition_look_ups_total", "Messages looked up to see whether they are stored.", func(s p) float64 { return float64(s.LookUps) }),
		per(counter, "rookery_partition_reads_ahead_total", "Questions asked of the store before the records that need them were taken.", func(s p) float64 { return float64(s.Ahead) }),
		per(counter, "rookery_partition_store_errors_total", "Calls of the store that failed and were tried again.", func(s p) float64 { return float64(s.StoreErrors) }),
		per(counter, "rookery_partition_derived_errors_total", "Appends of derived records that failed and were tried again.", func(s p) float64 { return float64(s.DerivedErrors) }),
		per(counter, "rookery_partition_read_errors_total", "Reads of the log that failed and were tried again.", func(s p) float64 { return float64(s.ReadErrors) }),
	})
}

// Store are the metrics of the embedded store.
func Store(snapshot func() pebble.Stats) Metrics {
	type s = pebble.Stats
	return collector(snapshot, []row[s]{
		level("rookery_store_stalled", "1 when writes wait for compaction.", func(s s) float64 { return one(s.Stalled) }),
		count("rookery_store_stalls_total", "Times that writes had to wait.", func(s s) uint64 { return s.StallsTotal }),
		count("rookery_store_stall_seconds_total", "Time that writes had to wait.", func(s s) float64 { return s.StallTimeTotal.Seconds() }),
		count("rookery_store_slow_disk_total", "Disk operations that took very long.", func(s s) uint64 { return s.SlowDisksTotal }),
		count("rookery_store_errors_total", "Errors of flushes and compactions.", func(s s) uint64 { return s.ErrorsTotal }),
		level("rookery_store_disk_bytes", "Size of the store's files.", func(s s) uint64 { return s.DiskBytes }),
		level("rookery_store_compaction_debt_bytes", "Bytes to compact until the store is in shape.", func(s s) uint64 { return s.CompactionDebt }),
		level("rookery_store_memtable_bytes", "Rows in memory that are not in a table on disk.", func(s s) uint64 { return s.MemtableBytes }),
		level("rookery_store_cache_bytes", "Blocks in the cache.", func(s s) int64 { return s.CacheBytes }),
		count("rookery_store_cache_hits_total", "Blocks found in the cache.", func(s s) int64 { return s.CacheHitsTotal }),
		count("rookery_store_cache_misses_total", "Blocks read from disk.", func(s s) int64 { return s.CacheMissesTotal }),
		level("rookery_store_l0_sublevels", "Sublevels of level 0. Writes stall at 24.", func(s s) int32 { return s.L0Sublevels }),
		level("rookery_store_read_amplification", "Tables a read may have to look at.", func(s s) int { return s.ReadAmplification }),
		count("rookery_store_compactions_total", "Compactions.", func(s s) int64 { return s.CompactionsTotal }),
		count("rookery_store_flushes_total", "Memtables written to disk.", func(s s) int64 { return s.FlushesTotal }),
		count("rookery_store_log_bytes_total", "Bytes written to the store's own log.", func(s s) uint64 { return s.LogBytesTotal }),
		count("rookery_store_chat_rows_total", "Rows written to lists of chats.", func(s s) uint64 { return s.ChatRowsTotal }),
		count("rookery_store_swept_messages_total", "Messages removed at the end of their time.", func(s s) uint64 { return s.SweptMessagesTotal }),
		count("rookery_store_swept_entries_total", "Inbox entries removed at the end of their time.", func(s s) uint64 { return s.SweptEntriesTotal }),
	})
}
