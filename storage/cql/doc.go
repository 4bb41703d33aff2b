// Package cql is the scaled-out store: storage.Store in a keyspace of Cassandra
// or ScyllaDB, shared by all processes. docs/store-cql.md has the tables, the
// reasons for them, and how to look after them.
//
// # Who wins
//
// Every write may be repeated, and may come from an owner that is one no more
// (law 3). So no cell is written at the time of a clock that others would have
// to agree with: rows that never change carry the time in their record, and
// cells that are written over carry their position, as [stamp] says it. The
// greatest wins, whoever writes it last. What gateways write about devices is
// the exception: it goes by the clock.
//
// # Apply
//
// Rows are grouped by partition key into unlogged batches, bounded in rows and
// bytes, and go out while others are being built. All that belongs to a user
// has the same partition key in each of its tables, so that it is one mutation
// in the database. When all rows are stored, and not before, the partition's row
// says so: who reads applied there sees every row up to it (law 5).
//
// # Age
//
// Rows die by their time to live. Sweep only writes down how far has been swept;
// readers leave out what is beyond it, and read it again from time to time, as
// another process may have swept. A message that expires is in two parts: its
// content, and the rest, which stays as long as its id could be sent again.
//
// # The session
//
// The driver reconnects by itself, and where it does not, link makes another
// session. Requests hold tokens, which bounds how many are under way.
package cql
