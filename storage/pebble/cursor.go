package pebble

import (
	"context"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rookery-chat/rookery/chat"
)

// messageCursor goes through a chat's messages, newest first: rows of their own
// and runs, each id once.
type messageCursor struct {
	rows, runs     *pebble.Iterator
	before         chat.ID // only older ones; the zero ID is no bound
	end, runsEnd   []byte  // keys that are not read
	rowOK, runOK   bool
	loaded         []runMessage // of runs, newest last
	started, onRow bool         // onRow: what was returned last is where rows stands

	// what next found; row is lent until it is called again
	id  chat.ID
	row []byte
	err error
}

type runMessage struct {
	id  chat.ID
	row []byte
}

// messagesOf returns a cursor that has to be put on a chat, and closed.
func (s *Store) messagesOf(ctx context.Context) (*messageCursor, error) {
	rows, err := s.db.NewIterWithContext(ctx, &messageRange)
	if err != nil {
		return nil, err
	}
	runs, err := s.db.NewIterWithContext(ctx, &runRange)
	if err != nil {
		return nil, errors.Join(err, rows.Close())
	}
	return &messageCursor{rows: rows, runs: runs}, nil
}

func (c *messageCursor) close() error { return errors.Join(c.err, c.rows.Close(), c.runs.Close()) }

// seek goes before the newest message of a chat that is older than before.
func (c *messageCursor) seek(s *Store, id chat.ChatID, before chat.ID) {
	c.before, c.started, c.onRow, c.loaded = before, false, false, c.loaded[:0]
	c.end, c.runsEnd = s.endOf(tableMessage, id), s.endOf(tableRun, id)
	from, runsFrom := append([]byte{tableMessage}, id[:]...), append([]byte{tableRun}, id[:]...)
	if !before.Zero() {
		from = append(appendMessageKey(nil, tableMessage, id, before), 0)
		runsFrom = after(nil, appendMessageKey(nil, tableRun, id, before))
	}
	c.rowOK = c.rows.SeekGE(from) && string(c.rows.Key()) < string(c.end)
	c.runOK = c.runs.SeekGE(runsFrom) && string(c.runs.Key()) < string(c.runsEnd)
}

// next finds the next message, and reports whether there is one.
func (c *messageCursor) next() bool {
	if c.onRow {
		c.onRow = false
		c.rowOK = c.rows.Next() && string(c.rows.Key()) < string(c.end)
	}
	was, any := c.id, c.started
	for c.err == nil {
		if !c.newest() {
			c.err = errors.Join(c.rows.Error(), c.runs.Error())
			return false
		}
		if c.started = true; !any || c.id != was {
			return c.err == nil
		}
		if c.onRow { // the same again, from a run
			c.onRow = false
			c.rowOK = c.rows.Next() && string(c.rows.Key()) < string(c.end)
		}
	}
	return false
}

// newest takes the newest of what is left.
func (c *messageCursor) newest() bool {
	for {
		var id chat.ID
		if c.rowOK {
			id = idOfSortID(c.rows.Key())
		}
		n := len(c.loaded)
		inRun := n > 0 && (!c.rowOK || c.loaded[n-1].id.Compare(id) >= 0)
		if inRun {
			id = c.loaded[n-1].id
		}
		// A run that was not read may have messages up to its span above its key.
		if c.runOK && (!c.rowOK && n == 0 || oldestOf(c.runs.Key()).Ticks()+runSpanTicks > id.Ticks()) {
			if c.err = c.load(); c.err != nil {
				return true
			}
			continue
		}
		if !c.rowOK && n == 0 {
			return false
		}
		c.id, c.onRow = id, !inRun
		if inRun {
			c.row, c.loaded = c.loaded[n-1].row, c.loaded[:n-1]
		} else {
			c.row, c.err = c.rows.ValueAndErr()
		}
		return true
	}
}

// load reads the run that comes next.
func (c *messageCursor) load() error {
	value, err := c.runs.ValueAndErr()
	if err != nil {
		return err
	}
	p, err := partsOf(slices.Clone(value))
	for err == nil && len(p.rest) > 0 {
		var m runMessage
		if m.id, m.row, err = p.message(); err == nil && (c.before.Zero() || m.id.Compare(c.before) < 0) {
			c.loaded = append(c.loaded, m)
		}
	}
	slices.SortStableFunc(c.loaded, func(a, b runMessage) int { return a.id.Compare(b.id) })
	c.runOK = c.runs.Next() && string(c.runs.Key()) < string(c.runsEnd)
	return err
}

// inboxCursor goes through a user's inbox: rows and stretches, each position
// once. Stretches that an owner wrote again after a crash overlap with those
// of before, cut at other places. All that owners write reaches without a hole
// from a mark on, and none goes across the mark that the next one began at. So
// in the order of their ends no stretch comes to a position before all below it.
type inboxCursor struct {
	rows, stretches *pebble.Iterator
	upTo            chat.Position
	rowOK, inOne    bool
	last            chat.Position // of the stretch we are in
	rest            parts
	nextPos         chat.Position // of the stretch
	nextRow         []byte

	// what next found; row is lent until it is called again. pos is the start before.
	pos chat.Position
	row []byte
	err error
}

// inboxOf returns a cursor before the first entry with after < position <= upTo.
func (s *Store) inboxOf(ctx context.Context, user chat.User, after, upTo chat.Position) (*inboxCursor, error) {
	rows, err := s.db.NewIterWithContext(ctx, inboxRange(tableInbox, user, after, upTo))
	if err != nil {
		return nil, err
	}
	stretches, err := s.db.NewIterWithContext(ctx, inboxRange(tableStretch, user, after, maxPosition))
	if err != nil {
		return nil, errors.Join(err, rows.Close())
	}
	c := &inboxCursor{rows: rows, stretches: stretches, upTo: upTo, pos: after}
	c.rowOK = rows.First()
	c.enter(stretches.First())
	return c, nil
}

func (c *inboxCursor) close() error { return errors.Join(c.err, c.rows.Close(), c.stretches.Close()) }

// enter begins the stretch that the iterator stands on, if it does.
func (c *inboxCursor) enter(ok bool) {
	if c.inOne = ok; !ok {
		return
	}
	value, err := c.stretches.ValueAndErr()
	if err == nil {
		c.last = positionOf(c.stretches.Key())
		c.rest, err = partsOf(value)
	}
	if err == nil {
		c.nextPos, c.nextRow, err = c.rest.entry(c.last)
	}
	c.err = errors.Join(c.err, err)
}

// skip goes past what is at or before a position.
func (c *inboxCursor) skip(pos chat.Position) {
	for c.rowOK && positionOf(c.rows.Key()) <= pos {
		c.rowOK = c.rows.Next()
	}
	for c.err == nil && c.inOne && c.nextPos <= pos {
		if len(c.rest.rest) == 0 {
			c.enter(c.stretches.Next())
		} else {
			c.nextPos, c.nextRow, c.err = c.rest.entry(c.last)
		}
	}
}

// next finds the next entry, and reports whether there is one.
func (c *inboxCursor) next() bool {
	c.skip(c.pos)
	if c.err != nil {
		return false
	}
	in := c.inOne && c.nextPos <= c.upTo
	switch {
	case in && (!c.rowOK || c.nextPos <= positionOf(c.rows.Key())):
		c.pos, c.row = c.nextPos, c.nextRow
	case c.rowOK:
		c.pos = positionOf(c.rows.Key())
		c.row, c.err = c.rows.ValueAndErr()
	default:
		c.err = errors.Join(c.rows.Error(), c.stretches.Error())
		return false
	}
	return c.err == nil
}
