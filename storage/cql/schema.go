package cql

// migration is one step of the schema. Steps are never changed once released:
// what comes later is a step of its own, with the next number. Every statement
// may be repeated.
type migration struct {
	version    int
	name       string
	statements []string
}

// schemaVersion is what this program needs.
var schemaVersion = migrations[len(migrations)-1].version

// migrations in order. "{ks}" is the keyspace.
//
// Messages and inboxes are written once and die of age: their files hold a
// window of time each and are dropped whole. The other tables have cells that
// are written over, at timestamps that are positions and not times, which would
// put everything into one window; they are compacted by size or level.
var migrations = []migration{
	{1, "messages, inboxes, watermarks, chats, devices, partitions", []string{
		`CREATE TABLE IF NOT EXISTS {ks}.messages (
	chat blob,
	bucket int,
	id timeuuid,
	sender text,
	receiver text,
	content blob,
	media_url text,
	status tinyint,
	place bigint,
	at bigint,
	expires bigint,
	suite tinyint,
	PRIMARY KEY ((chat, bucket), id)
) WITH CLUSTERING ORDER BY (id DESC)
	AND compaction = {'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS', 'compaction_window_size': 30}
	AND default_time_to_live = 157680000`,

		`CREATE TABLE IF NOT EXISTS {ks}.chat_buckets (
	chat blob,
	bucket int,
	PRIMARY KEY (chat, bucket)
) WITH CLUSTERING ORDER BY (bucket DESC)
	AND compaction = {'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS', 'compaction_window_size': 30}
	AND default_time_to_live = 157680000`,

		`CREATE TABLE IF NOT EXISTS {ks}.inbox (
	user text,
	pos bigint,
	kind tinyint,
	peer text,
	id timeuuid,
	at bigint,
	prev bigint,
	PRIMARY KEY (user, pos)
) WITH compaction = {'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS', 'compaction_window_size': 1}
	AND default_time_to_live = 2592000
	AND gc_grace_seconds = 10800`,

		`CREATE TABLE IF NOT EXISTS {ks}.users (
	user text PRIMARY KEY,
	head bigint,
	last_entry bigint,
	first_entry bigint,
	last_seen bigint
) WITH compaction = {'class': 'LeveledCompactionStrategy'}`,

		`CREATE TABLE IF NOT EXISTS {ks}.peers (
	user text,
	peer text,
	day int,
	delivered bigint,
	read bigint,
	changed bigint,
	read_to bigint,
	PRIMARY KEY (user, peer)
) WITH compaction = {'class': 'LeveledCompactionStrategy'}`,

		`CREATE TABLE IF NOT EXISTS {ks}.devices (
	user text,
	device text,
	seq int,
	start bigint,
	created bigint,
	cursor bigint,
	push_provider text,
	push_token text,
	pushed bigint,
	PRIMARY KEY (user, device)
) WITH compaction = {'class': 'LeveledCompactionStrategy'}`,

		`CREATE TABLE IF NOT EXISTS {ks}.partitions (
	partition int PRIMARY KEY,
	log blob,
	mark bigint,
	owner blob,
	applied bigint
)`,

		`CREATE TABLE IF NOT EXISTS {ks}.sweeps (
	id tinyint PRIMARY KEY,
	expired bigint,
	inbox bigint,
	messages bigint
)`,
	}},
	{2, "public keys of devices", []string{
		// Kind 0 is a device, 1 a one-time key. All rows of a user are one partition, so that
		// a lightweight transaction covers them; they are written by such alone.
		`CREATE TABLE IF NOT EXISTS {ks}.user_keys (
	user text,
	kind tinyint,
	device text,
	id bigint,
	identity blob STATIC,
	version bigint,
	gone boolean,
	upto bigint,
	signer blob,
	curve blob,
	signing blob,
	signature blob,
	fallback_id bigint,
	fallback_key blob,
	fallback_signature blob,
	key blob,
	PRIMARY KEY (user, kind, device, id)
) WITH compaction = {'class': 'LeveledCompactionStrategy'}`,
	}},
	{3, "groups and their members", []string{
		// spans is what storage.AppendSpans makes. Members who are none any more stay.
		`CREATE TABLE IF NOT EXISTS {ks}.group_members (
	grp text,
	user text,
	info blob STATIC,
	info_at bigint STATIC,
	spans blob,
	changed bigint,
	delivered bigint,
	read bigint,
	sent bigint,
	PRIMARY KEY (grp, user)
) WITH compaction = {'class': 'LeveledCompactionStrategy'}`,
	}},
	{4, "devices have names that users give, and are revoked", []string{
		`ALTER TABLE {ks}.devices ADD (label text, revoked bigint)`,
	}},
	{5, "inbox rows of several entries", []string{
		// A row with a run has no columns beside it; see runs.go.
		`ALTER TABLE {ks}.inbox ADD (run blob)`,
	}},
}

// Tables that the migrations themselves need; they are made first.
var migrationTables = []string{
	`CREATE TABLE IF NOT EXISTS {ks}.schema_versions (
	version int PRIMARY KEY,
	name text,
	at timestamp
)`,
	`CREATE TABLE IF NOT EXISTS {ks}.schema_lock (
	id tinyint PRIMARY KEY,
	holder text
)`,
}

// The statements. Those of one user all have the user as partition key, so that
// a batch of them is one mutation, whatever the tables.
const (
	putMessage = `INSERT INTO messages (chat, bucket, id, sender, receiver, content, media_url, status, place, at, suite)` +
		` VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?`
	putStub = `INSERT INTO messages (chat, bucket, id, sender, receiver, status, place, at, suite, expires)` +
		` VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?`
	putBody   = `UPDATE messages USING TIMESTAMP ? AND TTL ? SET content = ?, media_url = ? WHERE chat = ? AND bucket = ? AND id = ?`
	putBucket = `INSERT INTO chat_buckets (chat, bucket) VALUES (?, ?) USING TIMESTAMP ? AND TTL ?`
	putEntry  = `INSERT INTO inbox (user, pos, kind, peer, id, at, prev) VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?`
	putRun    = `INSERT INTO inbox (user, pos, run) VALUES (?, ?, ?) USING TIMESTAMP ? AND TTL ?`
	putHead   = `UPDATE users USING TIMESTAMP ? SET head = ? WHERE user = ?`
	putEnds   = `UPDATE users USING TIMESTAMP ? SET head = ?, last_entry = ? WHERE user = ?`
	putLast   = `UPDATE users USING TIMESTAMP ? SET last_entry = ? WHERE user = ?`
	putFirst  = `UPDATE users USING TIMESTAMP ? SET first_entry = ? WHERE user = ?`
	putDay    = `UPDATE peers USING TIMESTAMP ? SET day = ? WHERE user = ? AND peer = ?`
	putRcpt   = `UPDATE peers USING TIMESTAMP ? SET delivered = ?, read = ?, changed = ? WHERE user = ? AND peer = ?`
	putRead   = `UPDATE peers USING TIMESTAMP ? SET read_to = ? WHERE user = ? AND peer = ?`
	putCursor = `UPDATE devices USING TIMESTAMP ? SET cursor = ? WHERE user = ? AND device = ?`
	putInfo   = `UPDATE group_members USING TIMESTAMP ? SET info = ?, info_at = ? WHERE grp = ?`
	putMember = `UPDATE group_members USING TIMESTAMP ? SET spans = ?, changed = ? WHERE grp = ? AND user = ?`
	putCome   = `UPDATE group_members USING TIMESTAMP ? SET delivered = ?, read = ?, sent = ? WHERE grp = ? AND user = ?`
	putMark   = `UPDATE partitions USING TIMESTAMP ? SET log = ?, mark = ?, owner = ? WHERE partition = ?`
	putDone   = `UPDATE partitions USING TIMESTAMP ? SET applied = ? WHERE partition = ?`

	putDevice   = `UPDATE devices SET seq = ?, start = ?, created = ? WHERE user = ? AND device = ?`
	putTarget   = `UPDATE devices SET push_provider = ?, push_token = ? WHERE user = ? AND device = ?`
	putPushed   = `UPDATE devices USING TIMESTAMP ? SET pushed = ? WHERE user = ? AND device = ?`
	dropPushed  = `DELETE pushed FROM devices USING TIMESTAMP ? WHERE user = ? AND device = ?`
	putLabel    = `UPDATE devices SET label = ? WHERE user = ? AND device = ?`
	putRevoked  = `UPDATE devices SET revoked = ?, push_provider = '', push_token = '' WHERE user = ? AND device = ?`
	dropCursor  = `DELETE cursor FROM devices USING TIMESTAMP ? WHERE user = ? AND device = ?`
	putLastSeen = `UPDATE users USING TIMESTAMP ? SET last_seen = ? WHERE user = ?`

	putSweptExpired  = `UPDATE sweeps USING TIMESTAMP ? SET expired = ? WHERE id = 0`
	putSweptInbox    = `UPDATE sweeps USING TIMESTAMP ? SET inbox = ? WHERE id = 0`
	putSweptMessages = `UPDATE sweeps USING TIMESTAMP ? SET messages = ? WHERE id = 0`

	messageColumns = `id, sender, receiver, content, media_url, place, at, expires, suite`

	getMessages = `SELECT ` + messageColumns + ` FROM messages WHERE chat = ? AND bucket = ? AND id IN ?`
	getNewest   = `SELECT ` + messageColumns + ` FROM messages WHERE chat = ? AND bucket = ? LIMIT ?`
	getOlder    = `SELECT ` + messageColumns + ` FROM messages WHERE chat = ? AND bucket = ? AND id <= ? LIMIT ?`
	getBuckets  = `SELECT bucket FROM chat_buckets WHERE chat = ? AND bucket <= ? AND bucket >= ?`
	getEntries  = `SELECT pos, kind, peer, id, at, run FROM inbox WHERE user = ? AND pos > ? LIMIT ?`
	getFrom     = `SELECT pos, prev, at, run FROM inbox WHERE user = ? AND pos > ? LIMIT ?`
	getBounds   = `SELECT last_entry, first_entry FROM users WHERE user = ?`
	getHeads    = `SELECT user, head FROM users WHERE user IN ?`
	getLastSeen = `SELECT last_seen FROM users WHERE user = ?`
	getDays     = `SELECT peer, day FROM peers WHERE user = ?`
	getPeer     = `SELECT day, delivered, read, read_to, changed FROM peers WHERE user = ? AND peer = ?`
	getReceipts = `SELECT peer, delivered, read FROM peers WHERE user = ? AND peer > ? AND changed > ? AND changed <= ? LIMIT ? ALLOW FILTERING`
	getDevices  = `SELECT device, seq, start, created, cursor, push_provider, push_token, pushed, label, revoked FROM devices WHERE user = ?`
	getInfo     = `SELECT info, info_at FROM group_members WHERE grp = ? LIMIT 1`
	getMembers  = `SELECT user, spans, changed, delivered, read, sent FROM group_members WHERE grp = ? AND user > ? LIMIT ?`
	getMember   = `SELECT user, spans, changed, delivered, read, sent FROM group_members WHERE grp = ? AND user = ?`
	getMark     = `SELECT log, mark, owner, applied FROM partitions WHERE partition = ?`
	getApplied  = `SELECT mark, applied FROM partitions WHERE partition = ?`
	getSwept    = `SELECT expired, inbox, messages FROM sweeps WHERE id = 0`
)
