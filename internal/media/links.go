package media

import (
	"sync"
	"time"
)

// maxLinks is how many blobs' URLs a desk remembers. Over it the ones that were
// signed first are forgotten, and signed anew.
const maxLinks = 1 << 13

// links are URLs that were signed: whoever asks for a blob gets the same one
// until half of its life is over, so that a cache by URLs keeps one copy of what
// a group downloads.
type links struct {
	mu           sync.Mutex
	newer, older map[string]Link // by the blob's name; half of maxLinks each
}

// get returns a URL that is good for so long at least.
func (l *links) get(name string, left time.Duration) (Link, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, of := range []map[string]Link{l.newer, l.older} {
		if link, ok := of[name]; ok && time.Until(link.End) >= left {
			return link, true
		}
	}
	return Link{}, false
}

func (l *links) keep(link Link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.newer == nil || len(l.newer) >= maxLinks/2 {
		l.newer, l.older = map[string]Link{}, l.newer
	}
	l.newer[link.Name] = link
}
