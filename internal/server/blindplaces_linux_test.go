package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gocql/gocql"
	"github.com/redis/rueidis"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rookery-chat/rookery/internal/services"
)

// redis searches every key and value of the directory, as Redis dumps them.
func (h *hunt) redis(cl *testCluster) {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{services.Redis(h.t)}, DisableCache: true})
	must(h.t, err)
	defer c.Close()
	var all []io.Reader
	for cursor, first := uint64(0), true; first || cursor != 0; first = false {
		page, err := c.Do(h.t.Context(), c.B().Scan().Cursor(cursor).Count(1000).Build()).AsScanEntry()
		must(h.t, err)
		cursor = page.Cursor
		for _, key := range page.Elements {
			dump, err := c.Do(h.t.Context(), c.B().Dump().Key(key).Build()).ToString()
			if rueidis.IsRedisNil(err) { // another test's, which is gone
				continue
			}
			must(h.t, err)
			all = append(all, strings.NewReader(key+"\x00"+dump))
		}
	}
	h.look("Redis", cl.name, all...)
}

// topic is the cluster's, of its only epoch.
func (cl *testCluster) topic() string { return cl.name + ".0" }

// kafkaRecords searches every record of the log, as it was before its batch was
// compressed, where it is.
func (h *hunt) kafkaRecords(cl *testCluster) {
	c, err := kgo.NewClient(kgo.SeedBrokers(cl.kafka), kgo.ConsumeTopics(cl.topic()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	must(h.t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, cl.topic())
	must(h.t, err)
	left := int64(0) // records, of which none was ever removed
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	var all bytes.Buffer
	for left > 0 {
		fetches := c.PollFetches(ctx)
		must(h.t, fetches.Err())
		for r := range fetches.RecordsAll() {
			left--
			all.Write(r.Key)
			all.Write(r.Value)
			for _, header := range r.Headers {
				all.WriteString(header.Key)
				all.Write(header.Value)
			}
		}
	}
	h.has("Kafka's records", h.user, messageKinds, &all)
}

// kafkaFiles searches the files that the broker keeps of the log.
func (h *hunt) kafkaFiles(cl *testCluster) {
	dirs, err := filepath.Glob(filepath.Join(services.Folder(h.t, "kafka"), "data", cl.topic()+"-*"))
	must(h.t, err)
	var files []io.Reader
	for _, dir := range dirs {
		files = append(files, filesIn(h.t, dir)...)
	}
	h.has("Kafka's files", h.user, messageKinds, files...)
}

// cql opens a session without our code.
func (cl *testCluster) cql() *gocql.Session {
	cl.t.Helper()
	s := services.Get(cl.t)
	c := gocql.NewCluster(services.Cassandra(cl.t))
	c.Authenticator = gocql.PasswordAuthenticator{Username: s.CassandraUser, Password: s.CassandraPassword}
	c.Keyspace, c.Timeout = cl.name, patience
	session, err := c.CreateSession()
	must(cl.t, err)
	cl.t.Cleanup(session.Close)
	return session
}

// tables are those of the cluster's keyspace.
func (cl *testCluster) tables(session *gocql.Session) (names []string) {
	cl.t.Helper()
	rows, name := session.Query("SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?", cl.name).Iter(), ""
	for rows.Scan(&name) {
		names = append(names, name)
	}
	must(cl.t, rows.Close())
	return names
}

// cassandraRows searches every cell of every table.
func (h *hunt) cassandraRows(cl *testCluster) {
	session := cl.cql()
	var all bytes.Buffer
	for _, table := range cl.tables(session) {
		rows := session.Query("SELECT * FROM " + table).Iter()
		for row := map[string]any{}; rows.MapScan(row); row = map[string]any{} {
			fmt.Fprintf(&all, "%s %s\n", table, row) // %s writes bytes as they are, also within collections
		}
		must(h.t, rows.Close())
	}
	h.has("Cassandra's rows", h.user, messageKinds, &all)
}

// cassandraFiles searches the files that the node keeps, once its tables are in
// them, not compressed, as a block might end within what is looked for, and the log
// of its commits.
func (h *hunt) cassandraFiles(cl *testCluster) {
	session, dir := cl.cql(), services.Folder(h.t, "cassandra")
	for _, table := range cl.tables(session) {
		must(h.t, session.Query("ALTER TABLE "+table+" WITH memtable_flush_period_in_ms = 100 AND compression = {'enabled': 'false'}").Exec())
	}
	written := filepath.Join(dir, "data", cl.name, "messages-*", "*-TOC.txt") // written when the data is whole
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		files, err := filepath.Glob(written)
		must(h.t, err)
		if len(files) > 0 {
			tick.Stop()
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			h.t.Fatal("Cassandra does not write its tables to files")
		}
	}
	h.has("Cassandra's tables in files", h.user, messageKinds, filesIn(h.t, filepath.Join(dir, "data", cl.name))...)
	commits, err := os.ReadFile(filepath.Join(dir, "commitlog.where"))
	must(h.t, err)
	h.look("Cassandra's commits", "", filesIn(h.t, strings.TrimSpace(string(commits)))...)
}
