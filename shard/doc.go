// Package shard owns users: it says which partition of the log a user is in,
// and runs one single-writer worker a partition that stores what the log holds.
//
// # A cycle
//
// A worker takes records in the order of the log and works in cycles:
//
//	build    decode records in place, dedup, gather rows, entries, derived records
//	apply    store.Apply: the rows, and the mark of what is settled
//	publish  applied is raised: from here on readers may be shown it (law 5)
//	deliver  the entries go to whoever is connected
//	derive   copies and receipts are appended to their users' partitions
//	settle   when they are durable, the cycle may be marked and released, with
//	         the next cycle's rows or some milliseconds later
//
// The mark says from where to go on after a crash. It lags behind the rows, so
// that records are built again, and everything here gives the same rows when
// it is (law 3):
//
//   - A message whose row stands at its own position is its first arrival once
//     more, and says again what it said.
//   - Cursors and reads are written only with a mark that covers them. Who saw
//     them stored before the receipts they cause are durable would not send
//     those receipts again.
//   - Copies are counted by the partition they come from: an owner derives them
//     in order of place and appends them in that order, so that one position
//     for each partition tells what is a repeat. These positions are kept in
//     the mark, with the newest of all ids: above it, an id is new.
//   - Receipts are merged by maximum.
//   - A group is asked as of a place: of the spans of its members, which are
//     stored with the messages, those that begin later are left out. How far
//     members have come is stored as cursors are, with the mark.
//   - What a group fans out is counted as copies are. It refers to a row of
//     another partition, which after a power cut may be behind: then the cycle
//     ends, and the next one waits.
//
// # Failpoints
//
// In the order of a cycle: shard/built, shard/stored (before it is published),
// shard/delivered (before anything is derived), shard/derived (before it is
// durable), shard/marked (stored, not synced), and shard/synced (before the log
// may delete).
package shard
