package config

// groupDocs is a sentence for each group, in the order of the table.
var groupDocs = map[string]string{
	"":          "",
	"log":       "What the server writes about itself; never a message's content and never a token.",
	"engine":    "The event loops that hold the sockets.",
	"auth":      "Who may connect.",
	"session":   "What one connection may do. Clients are told these limits in the welcome packet.",
	"groups":    "Groups of users.",
	"keys":      "The directory of public keys, by which clients encrypt for each other.",
	"pipeline":  "The log that makes messages durable.",
	"shard":     "The owners of partitions, which take the log to the store.",
	"store":     "Where messages are kept.",
	"presence":  "Who is where.",
	"kafka":     "The log, where pipeline.url is kafka://.",
	"cql":       "The store, where store.url is cql://.",
	"redis":     "Presence, where presence.url is redis:// or rediss://.",
	"rpc":       "How processes reach each other, where presence is not in memory.",
	"push":      "How devices that are not connected are told that something waits.",
	"retention": "How long things are kept.",
	"media":     "Pictures and files, which clients encrypt and carry to a store themselves: docs/media.md.",
	"web":       "The listener for browsers and services, beside the sockets.",
	"drain":     "How the server goes away on SIGTERM.",
}
