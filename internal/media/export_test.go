package media

// MaxLinks is for tests.
const MaxLinks = maxLinks
