package cql

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gocql/gocql"
)

// Schema is the version that a keyspace has, and what would bring it to the one
// this program needs.
type Schema struct {
	Have, Want int      // Have is 0 where there is nothing
	Statements []string // to be run, in order; none when it is up to date
}

// Of the lock by which one migrates at a time.
const (
	lockFor   = 5 * time.Minute // it falls when its holder has died
	lockRetry = 200 * time.Millisecond
	ddlTries  = 5
	ddlPause  = 500 * time.Millisecond
)

// migrator changes a keyspace.
type migrator struct {
	opt         *Options
	session     *gocql.Session
	replication string
}

// ReadSchema says what Migrate would do. replication is as Migrate takes it.
func ReadSchema(ctx context.Context, o Options, replication string) (Schema, error) {
	m, err := newMigrator(o, replication)
	if err != nil {
		return Schema{}, err
	}
	defer m.session.Close()
	return m.read(ctx)
}

// Migrate brings a keyspace to the version that this program needs, and makes
// it where it is missing. It may be called any number of times, and from many
// places at once: one of them does the work, and the others find it done.
//
// replication is for a keyspace that is made: how many copies there are, "3" in
// every data centre or "dc1:3,dc2:2"; "" is 3 in every one, fewer where there
// are fewer nodes.
func Migrate(ctx context.Context, o Options, replication string) (Schema, error) {
	m, err := newMigrator(o, replication)
	if err != nil {
		return Schema{}, err
	}
	defer m.session.Close()
	done, err := m.read(ctx)
	if err != nil || len(done.Statements) == 0 {
		return done, err
	}
	if err := m.prepare(ctx); err != nil {
		return done, err
	}
	unlock, err := m.lock(ctx)
	if err != nil {
		return done, err
	}
	return done, errors.Join(m.run(ctx), unlock())
}

func newMigrator(o Options, replication string) (*migrator, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.setDefaults()
	c, err := o.cluster()
	if err != nil {
		return nil, err
	}
	c.Keyspace = ""
	c.PoolConfig.HostSelectionPolicy = o.hostPolicy() // no tokens without a keyspace
	session, err := newSession(c)
	if err != nil {
		return nil, explain(&o, err)
	}
	m := &migrator{opt: &o, session: session}
	if m.replication, err = replicationOf(replication, session.GetHosts()); err != nil {
		session.Close()
		return nil, err
	}
	return m, nil
}

// replicationOf is the CQL of how many copies there are.
func replicationOf(asked string, hosts []*gocql.HostInfo) (string, error) {
	copies := map[string]int{}
	for _, h := range hosts {
		copies[h.DataCenter()] = min(copies[h.DataCenter()]+1, 3)
	}
	if n, err := strconv.Atoi(asked); err == nil {
		for dc := range copies {
			copies[dc] = n
		}
	} else if asked != "" {
		clear(copies)
		for part := range strings.SplitSeq(asked, ",") {
			dc, n, ok := strings.Cut(part, ":")
			rf, err := strconv.Atoi(n)
			if !ok || err != nil {
				return "", fmt.Errorf("storage/cql: replication %q: write a number, or DC:NUMBER,DC:NUMBER", asked)
			}
			copies[dc] = rf
		}
	}
	parts := []string{"'class': 'NetworkTopologyStrategy'"}
	for dc, n := range copies {
		if n < 1 || strings.ContainsAny(dc, `'\`) {
			return "", fmt.Errorf("storage/cql: replication %q: %d copies in %q", asked, n, dc)
		}
		parts = append(parts, fmt.Sprintf("'%s': '%d'", dc, n))
	}
	slices.Sort(parts[1:])
	return "{" + strings.Join(parts, ", ") + "}", nil
}

func (m *migrator) in(statement string) string {
	return strings.ReplaceAll(statement, "{ks}", m.opt.Keyspace)
}

func (m *migrator) createKeyspace() string {
	return fmt.Sprintf("CREATE KEYSPACE IF NOT EXISTS %s WITH replication = %s", m.opt.Keyspace, m.replication)
}

// read compares what there is with what there should be.
func (m *migrator) read(ctx context.Context) (Schema, error) {
	s := Schema{Want: schemaVersion}
	var tables int
	err := m.session.QueryWithContext(ctx, `SELECT COUNT(*) FROM system_schema.tables WHERE keyspace_name = ? AND table_name IN ('schema_versions', 'schema_lock')`,
		strings.ToLower(m.opt.Keyspace)).Consistency(gocql.One).Scan(&tables)
	if err != nil {
		return s, failed("read the schema", err)
	}
	if tables < len(migrationTables) {
		s.Statements = append(s.Statements, m.createKeyspace())
		for _, t := range migrationTables {
			s.Statements = append(s.Statements, m.in(t))
		}
	} else if s.Have, err = m.version(ctx); err != nil {
		return s, err
	}
	for _, step := range migrations {
		if step.version <= s.Have {
			continue
		}
		for _, t := range step.statements {
			s.Statements = append(s.Statements, m.in(t))
		}
	}
	return s, nil
}

// version is the newest that has been done.
func (m *migrator) version(ctx context.Context) (int, error) {
	version, have := 0, 0
	rows := m.session.QueryWithContext(ctx, m.in(`SELECT version FROM {ks}.schema_versions`)).Iter()
	for rows.Scan(&version) {
		have = max(have, version)
	}
	if err := rows.Close(); err != nil {
		return 0, failed("read the schema's version", err)
	}
	return have, nil
}

// prepare makes what the lock needs.
func (m *migrator) prepare(ctx context.Context) error {
	for _, t := range append([]string{m.createKeyspace()}, migrationTables...) {
		if err := m.ddl(ctx, m.in(t)); err != nil {
			return err
		}
	}
	return nil
}

// ddl changes the schema, and waits until all nodes have it. Before there is a
// lock others may do the same through other nodes, and nodes disagree for a
// moment: such a statement is repeated.
func (m *migrator) ddl(ctx context.Context, statement string) (err error) {
	for range ddlTries {
		if err = m.session.QueryWithContext(ctx, statement).Exec(); err == nil {
			err = m.session.AwaitSchemaAgreement(ctx)
		}
		if err == nil || isThere(err) {
			return nil
		}
		select {
		case <-time.After(ddlPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	name, _, _ := strings.Cut(statement, "(")
	return failed(strings.TrimSpace(name), err)
}

// isThere reports whether a statement failed as its column is there: CQL has no
// IF NOT EXISTS for columns that all servers know, and a step may be repeated.
func isThere(err error) bool {
	return strings.Contains(err.Error(), "conflicts with an existing column") || strings.Contains(err.Error(), "already exists")
}

// lock waits until nobody else migrates.
func (m *migrator) lock(ctx context.Context) (unlock func() error, err error) {
	host, _ := os.Hostname()
	holder := fmt.Sprintf("%s/%d/%s", host, os.Getpid(), gocql.TimeUUID())
	for {
		var id int
		var by string
		got, err := m.session.QueryWithContext(ctx, m.in(`INSERT INTO {ks}.schema_lock (id, holder) VALUES (0, ?) IF NOT EXISTS USING TTL `)+
			strconv.Itoa(int(lockFor.Seconds())), holder).ScanCAS(&id, &by)
		if err != nil && !errors.Is(err, gocql.ErrNotFound) {
			return nil, failed("take the schema's lock", err)
		}
		if got || by == holder { // a repeated try may find its own
			return func() error { return m.unlock(ctx, holder) }, nil
		}
		select {
		case <-time.After(lockRetry):
		case <-ctx.Done():
			return nil, fmt.Errorf("storage/cql: %s has been migrating the schema for long; its lock falls %v after it was taken: %w", by, lockFor, ctx.Err())
		}
	}
}

func (m *migrator) unlock(ctx context.Context, holder string) error {
	_, err := m.session.QueryWithContext(context.WithoutCancel(ctx), m.in(`DELETE FROM {ks}.schema_lock WHERE id = 0 IF holder = ?`), holder).ScanCAS(new(string))
	if err != nil && !errors.Is(err, gocql.ErrNotFound) {
		return failed("release the schema's lock", err)
	}
	return nil
}

// run does the steps that are missing. The lock is held.
func (m *migrator) run(ctx context.Context) error {
	have, err := m.version(ctx)
	if err != nil {
		return err
	}
	for _, step := range migrations {
		if step.version <= have {
			continue
		}
		for _, t := range step.statements {
			if err := m.ddl(ctx, m.in(t)); err != nil {
				return err
			}
		}
		err := m.session.QueryWithContext(ctx, m.in(`INSERT INTO {ks}.schema_versions (version, name, at) VALUES (?, ?, ?)`),
			step.version, step.name, time.Now()).Exec()
		if err != nil {
			return failed("note the schema's version", err)
		}
	}
	return nil
}

// checkSchema refuses a keyspace that is older than this program. A newer one is
// fine: steps only add.
func (s *Store) checkSchema(ctx context.Context) error {
	version, have := 0, 0
	err := s.query(ctx, `SELECT version FROM schema_versions`, func(row scanner) error {
		err := row(&version)
		have = max(have, version)
		return err
	})
	if err != nil && !strings.Contains(err.Error(), "schema_versions") {
		return failed("read the schema's version", err)
	}
	if have < schemaVersion {
		return fmt.Errorf("storage/cql: the schema of keyspace %s has version %d, this program needs %d: run 'rookery admin schema'", s.opt.Keyspace, have, schemaVersion)
	}
	return nil
}
