package suite

// limit is what keeps a target from being better, and under which heading of
// docs/performance.md its profile, what was tried and what is next stand. The
// page says it where the target is missed.
type limit struct {
	why    string
	anchor string
}

var (
	framing     = limit{"a frame is parsed, unmasked and written where the bare echo copies bytes: a fifth of the time at 64 in flight, the rest is the kernel's", "the-event-loop"}
	joining     = limit{"centrifuge, which joins answers, is nearer than the others; most of what is left of our time is the kernel's", "the-event-loop"}
	turns       = limit{"all that is in flight waits for one processor: the latency is the depth times the connections over the rate", "the-event-loop"}
	firstRows   = limit{"rows of a message, its mark and its receipt are in the memtable, and the owners' tables are spread over few sessions", "a-silent-session-28-november-2026"}
	takingIn    = limit{"both processors are full: of the server's time taking sends in is 29 %, owners 28, flushes and compactions 24, the log 10", "where-firehose-ends"}
	storing     = limit{"both processors are full, and owners, who store and deliver, come last", "once-owners-are-behind-29-november-2026"}
	sending     = limit{"both processors are full: of the server's time socket writes are 29 %, owners with six rows a message and look-ups 32, compactions and flushes 19", "twenty-thousand-messages-a-second-29-november-2026"}
	scatter     = limit{"rounds scatter by more than the sessions cost", "where-it-ends-30-november-2026"}
	blind       = limit{"the server does the same work, so that the ratio is the scatter of few rounds", "what-encryption-costs-a-client"}
	samples     = limit{"more than nine tenths of a recipient are the kernel's send; what is before it is a few samples of a profile", "one-message-to-many-sockets"}
	greeting    = limit{"a session reads its devices, cursor and inbox before it is caught up, where a bare server only shakes hands", "a-connect-storm"}
	backlog     = limit{"what overflows a loop's queue of connections is asked for again by the kernel, later each time", "a-connect-storm"}
	descriptors = limit{"a process may have only so many descriptors, unless loops have tables of their own, and the kernel's memory for both ends", "one-server-of-a-million-30-november-2026"}
	ownersLast  = limit{"both processors are full: loops come first, owners last, and the load takes a third", "one-server-of-a-million-30-november-2026"}
	firstMarks  = limit{"first marks and first receipts of a pair are looked up in the store: 15 % of the server's time", "one-server-of-a-million-30-november-2026"}
	requests    = limit{"both processors are full: a message is five requests to the store, and what a request costs is not its work", "a-cluster-on-two-processors"}
	intoKafka   = limit{"gateways, Kafka and the balancer cost 2 to 5 us a message, and the store takes a core of the two", "a-cluster-on-two-processors"}
	silent      = limit{"connection, session, presence and names; and what the heap keeps free", "a-million-in-one-process"}
)
