package lint

// A new folder gets a line in the table; an import that the table forbids gets
// a line among the exceptions with its reason, or does not land. Lines that
// nothing needs any more are faults too.

// allowed lists, for each folder, the folders of ours that its files may
// import beside its own; each is needed by a file that is no test.
// ARCHITECTURE.md says why they stand as they do.
var allowed = map[string][]string{
	"chat":   {},
	"frame":  {},
	"engine": {},
	"packet": {"chat"},

	"pipeline":              {"chat"},
	"pipeline/local":        {"chat", "pipeline"},
	"pipeline/kafka":        {"chat", "pipeline"},
	"pipeline/pipelinetest": {"chat", "pipeline"},

	"storage":             {"chat"},
	"storage/pebble":      {"chat", "storage"},
	"storage/cql":         {"chat", "storage"},
	"storage/storagetest": {"chat", "storage"},

	"shard": {"chat", "internal/record", "internal/view"},

	"client":            {"chat", "frame", "packet"},
	"client/clienttest": {"chat", "frame", "packet"},
	"client/content":    {"chat", "packet"},
	"client/e2ee":       {"chat", "client", "client/content", "packet", "internal/pubkey"},

	"internal/record":                {"chat"},
	"internal/presence":              {"chat"},
	"internal/presence/redis":        {"chat", "internal/presence"},
	"internal/presence/presencetest": {"chat", "internal/presence"},
	"internal/delivery":              {"chat", "packet", "internal/view"},
	"internal/delivery/rpc":          {"chat", "internal/certs"},
	"internal/gateway":               {"chat", "frame", "packet", "internal/keydir", "internal/proxyaddr", "internal/record", "internal/view"},
	"internal/auth":                  {"chat"},

	"internal/push":         {"chat", "storage"},
	"internal/push/fcm":     {"internal/push"},
	"internal/push/apns":    {"internal/push"},
	"internal/push/webhook": {"internal/push"},

	"internal/media":           {"chat"},
	"internal/media/folder":    {"internal/media"},
	"internal/media/s3":        {"internal/media"},
	"internal/media/mediatest": {"chat", "internal/media"},

	"internal/keydir": {"chat", "internal/pubkey"},
	"internal/pubkey": {},

	"internal/certs":     {},
	"internal/echo":      {"engine", "frame"},
	"internal/failpoint": {},
	"internal/knownbug":  {},
	"internal/nearest":   {},
	"internal/plan":      {"client", "internal/config", "internal/nearest"},
	"internal/probe":     {"chat", "client"},
	"internal/proxyaddr": {},
	"internal/services":  {},
	"internal/view":      {},
	"internal/config":    {"internal/nearest", "internal/proxyaddr"},
	"internal/doctor":    {"internal/config"},
	"internal/admin":     {"chat"},
	"internal/lint":      {},

	"web":          {},
	"internal/web": {"chat", "client", "internal/certs", "internal/media", "web"},

	"cmd/rookery-e2ee": {"chat", "client/e2ee", "packet"},

	"examples/go": {"client", "client/e2ee"},

	"bench":       {"chat", "client", "client/e2ee", "frame", "packet"},
	"bench/suite": {"bench"},
}

// everything may be imported by these: they join the parts.
var joiners = map[string]bool{"internal/backend": true, "internal/server": true, "internal/cli": true, "cmd/rookery": true}

// forTests may be imported by every test.
var forTests = map[string]bool{"internal/services": true}

// exception is an import beyond the table, with its reason.
type exception struct{ from, to, reason string }

var exceptions = []exception{
	{"internal/gateway", "engine", "the gateway is the engine's handler, and a seam with one implementation would be an interface for its own sake"},
	{"internal/gateway", "storage", "catch-up and requests read the store through its contract"},
	{"internal/keydir", "storage", "keys are rows of the store, through its contract"},
	{"internal/gateway", "internal/presence", "sessions enter themselves in the table"},
	{"internal/gateway", "internal/delivery", "what is handed to a loop is delivery's mail"},
	{"internal/delivery", "internal/presence", "it looks up where a receiver is, by presence's references"},
	{"internal/delivery/rpc", "internal/delivery", "what it carries is delivery's hint"},
	{"internal/delivery/rpc", "internal/presence", "where it goes is presence's gateway"},
	{"shard", "pipeline", "an owner reads and appends through the log's contract"},
	{"shard", "storage", "an owner stores through the store's contract"},
	{"shard", "internal/failpoint", "crash tests stop it between storing and committing"},
	{"shard", "internal/knownbug", "two of the faults that the checker has to find"},
	{"internal/gateway", "internal/knownbug", "one of them"},
	{"pipeline/kafka", "internal/knownbug", "one of them"},
	{"storage/cql", "internal/knownbug", "rows that become visible in any order, which is no fault"},
	{"bench", "internal/record", "each stage is measured alone, in the bench's own process"},
	{"bench", "pipeline", "the same"},
	{"bench", "pipeline/local", "the same"},
	{"bench", "storage", "the same"},
	{"bench", "storage/pebble", "the same"},
	{"bench", "internal/auth", "the load side signs tokens of its own with the development key"},
	{"internal/doctor", "internal/auth", "it looks who may read the development key, by its name"},
	{"internal/doctor", "engine", "it allows as many connections as the engine will"},
	{"internal/admin", "engine", "reads its counters"},
	{"internal/admin", "internal/auth", "reads its counters"},
	{"internal/admin", "internal/gateway", "reads its counters"},
	{"internal/admin", "internal/probe", "reads its counters"},
	{"internal/admin", "internal/delivery", "reads its counters"},
	{"internal/admin", "internal/delivery/rpc", "reads its counters"},
	{"internal/admin", "internal/presence/redis", "reads its counters"},
	{"internal/admin", "internal/push", "reads its counters"},
	{"internal/admin", "internal/web", "reads its counters"},
	{"internal/admin", "internal/media", "reads its counters"},
	{"internal/admin", "pipeline/kafka", "reads its counters"},
	{"internal/admin", "storage/cql", "reads its counters"},
	{"internal/admin", "pipeline/local", "reads its counters"},
	{"internal/admin", "shard", "reads its counters"},
	{"internal/admin", "storage/pebble", "reads its counters"},
}

// testExceptions are imports that only test files may have.
var testExceptions = []exception{
	{"client", "client/clienttest", "its test server"},
	{"internal/gateway", "internal/pubkey", "keys that hold, for the directory to take"},
	{"client/e2ee", "internal/server", "devices that talk over a server in the test's process"},
	{"client/e2ee", "internal/config", "that server's settings"},
	{"client/e2ee", "internal/auth", "its tokens"},
	{"internal/probe", "frame", "a server that says what a test tells it to"},
	{"internal/probe", "packet", "the same"},
	{"internal/probe", "client/clienttest", "the same"},
	{"internal/plan", "bench", "what it reads of a result is what the bench writes"},
	{"bench", "internal/server", "a load is tried on a server in its own process"},
	{"bench", "internal/config", "that server's settings"},
	{"bench", "internal/echo", "a load is tried on it, and the test program stands in for `rookery echo`"},
	{"bench", "internal/backend", "topics and tables of a small cluster"},
	{"bench", "pipeline/kafka", "the same"},
	{"bench", "storage/cql", "the same"},
	{"shard", "pipeline/local", "the owners on the real log"},
	{"shard", "storage/pebble", "the owners on the real store"},
	{"pipeline/local", "pipeline/pipelinetest", "the contract"},
	{"pipeline/kafka", "pipeline/pipelinetest", "the contract"},
	{"storage/pebble", "storage/storagetest", "the contract"},
	{"storage/cql", "storage/storagetest", "the contract"},
	{"internal/media/folder", "internal/media/mediatest", "the contract"},
	{"internal/media", "internal/media/folder", "who may what, over a real store"},
	{"internal/web", "internal/media/folder", "the way of a blob through the listener"},
	{"internal/media/s3", "internal/media/mediatest", "the contract"},
	{"internal/presence/redis", "internal/presence/presencetest", "the contract"},
}

// drivers lists the folders that may import a module; others, and the tests of
// others, may not. A module that is not here may be imported anywhere.
var drivers = map[string][]string{
	"github.com/panjf2000/gnet":             {"engine"},
	"github.com/cockroachdb/pebble":         {"storage/pebble"},
	"github.com/prometheus/client_golang":   {"internal/admin"},
	"github.com/gocql/gocql":                {"storage/cql"},
	"github.com/twmb/franz-go":              {"pipeline/kafka"},
	"github.com/gobwas":                     {"frame", "client"},
	"github.com/vmihailenco/msgpack":        {"packet"},
	"github.com/golang-jwt/jwt":             {"internal/auth"},
	"github.com/goccy/go-yaml":              {"internal/config"},
	"github.com/minio/minio-go":             {"internal/media/s3"},
	"github.com/sideshow/apns2":             {"internal/push/apns"},
	"google.golang.org/api":                 {"internal/push/fcm"},
	"github.com/redis/rueidis":              {"internal/presence/redis"},
	"golang.org/x/oauth2":                   {"internal/push/fcm"},
	"github.com/pires/go-proxyproto":        {"internal/proxyaddr"},
	"google.golang.org/grpc":                {"internal/delivery/rpc"},
	"google.golang.org/protobuf":            {"internal/delivery/rpc"},
	"golang.org/x/net":                      {"internal/web"},
	"filippo.io/edwards25519":               {"internal/pubkey"},
	"filippo.io/age":                        {"client/e2ee"},
	"maunium.net/go/mautrix":                {"client/e2ee"},
	"github.com/KimMachineGun/automemlimit": {"internal/cli", "internal/doctor"},
}

// driverExceptions are imports of a driver beyond the table.
var driverExceptions = []exception{
	{"pipeline/local", "github.com/cockroachdb/pebble", "its vfs alone: the file system whose power cuts tests can simulate"},
}

// testDrivers may be imported by test files of these folders too.
var testDrivers = []exception{
	{"internal/server", "github.com/golang-jwt/jwt", "tests forge tokens"},
	{"internal/server", "github.com/twmb/franz-go", "a broker of the test says what it did not do"},
	{"internal/server", "github.com/minio/minio-go", "makes a bucket for the test"},
	{"internal/server", "github.com/gocql/gocql", "reads what a message left in the store, without our code"},
	{"internal/server", "github.com/redis/rueidis", "reads what a session left in the directory, without our code"},
	{"internal/push/fcm", "github.com/golang-jwt/jwt", "a server in the test checks who asks for an access token"},
	{"internal/push/apns", "github.com/golang-jwt/jwt", "a server in the test checks the provider's tokens"},
	{"shard", "github.com/cockroachdb/pebble", "its vfs alone: the power fails for log and store together"},
	{"packet", "github.com/goccy/go-yaml", "reads the document whose examples it checks"},
	{"internal/web", "github.com/goccy/go-yaml", "reads the document whose calls it checks"},
}

// maxLines is how long a file may be that is neither a test nor generated.
const maxLines = 500

// badNames are names that say nothing about what is in a folder.
var badNames = []string{"util", "utils", "common", "helpers", "misc", "shared", "base"}
