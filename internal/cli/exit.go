package cli

// The exit codes of every command. docs/operations.md lists them; numbers are
// never reused.
const (
	ExitOK          = 0   // done
	ExitFailed      = 1   // it ran, and failed; the last line of stderr says why
	ExitUsage       = 2   // unknown command or flag, or an argument that cannot be
	ExitConfig      = 3   // the configuration is faulty; nothing was started
	ExitRefused     = 4   // the server refused: token, origin, limits; trying again changes nothing
	ExitUnreachable = 5   // no server answered, or it went away
	ExitTimeout     = 6   // the time given ran out first
	ExitData        = 7   // the data folder cannot be used: locked, unreadable, of another log
	ExitDoctor      = 8   // doctor found something that will not work
	ExitDisk        = 74  // the log could not be written or synced; the process ended at once
	ExitInterrupted = 130 // ended by SIGINT before it was done
)

// exitFacts is what help and the documents say of the codes, in order.
var exitFacts = []struct {
	code int
	text string
}{
	{ExitOK, "done"},
	{ExitFailed, "it ran, and failed; the last line of stderr says why"},
	{ExitUsage, "unknown command or flag, or an argument that cannot be"},
	{ExitConfig, "the configuration is faulty; nothing was started"},
	{ExitRefused, "the server refused; trying the same again changes nothing"},
	{ExitUnreachable, "no server answered, or it went away"},
	{ExitTimeout, "the time given ran out first"},
	{ExitData, "the data folder cannot be used: locked, unreadable, or of another log"},
	{ExitDoctor, "doctor found something that will not work"},
	{ExitDisk, "the log could not be written or synced; what was acknowledged is safe"},
	{ExitInterrupted, "interrupted before it was done"},
}
