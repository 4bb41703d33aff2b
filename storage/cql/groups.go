package cql

import (
	"context"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// groups sends the rows of groups, each group's in one request.
func (w *writer) groups(b *storage.Batch) {
	a := &w.arena
	for i := range b.Groups {
		g := &b.Groups[i]
		a.begin(4)
		a.int64(stamp(g.Pos))
		a.lend(g.Info)
		a.pos(g.Pos)
		a.text(string(g.Group))
		w.add(&w.user(g.Group).group, putInfo)
	}
	for i := range b.Members {
		m := &b.Members[i]
		a.begin(5)
		a.int64(stamp(m.Pos))
		a.lend(storage.AppendSpans(nil, m.Spans))
		a.pos(m.Pos)
		a.text(string(m.Group))
		a.text(string(m.User))
		w.add(&w.user(m.Group).group, putMember)
	}
	for i := range b.GroupMarks {
		m := &b.GroupMarks[i]
		a.begin(6)
		a.int64(stamp(m.Pos))
		a.pos(m.Delivered)
		a.pos(m.Read)
		a.pos(m.Sent)
		a.text(string(m.Group))
		a.text(string(m.User))
		w.add(&w.user(m.Group).group, putCome)
	}
}

// GroupInfo implements storage.Store.
func (s *Store) GroupInfo(ctx context.Context, group chat.User) (info []byte, at chat.Position, err error) {
	if err := s.begin(ctx); err != nil {
		return nil, 0, err
	}
	defer s.leave()
	err = s.query(ctx, getInfo, func(row scanner) error {
		var b body
		err := row(&b, &at)
		info = b.bytes
		return err
	}, string(group))
	if err != nil {
		return nil, 0, failed("group info", err)
	}
	return info, at, nil
}

// Members implements storage.Store.
func (s *Store) Members(ctx context.Context, group, beyond chat.User, limit int, dst []storage.Member) ([]storage.Member, error) {
	if err := s.begin(ctx); err != nil {
		return dst, err
	}
	defer s.leave()
	if limit <= 0 {
		return dst, nil
	}
	kept := len(dst)
	err := s.query(ctx, getMembers, func(row scanner) error {
		m, err := scanMember(row)
		if len(m.Spans) > 0 {
			dst = append(dst, m)
		}
		return err
	}, string(group), string(beyond), limit)
	if err != nil {
		return dst[:kept], failed("members", err)
	}
	return dst, nil
}

// Member implements storage.Store.
func (s *Store) Member(ctx context.Context, group, user chat.User) (storage.Member, error) {
	m := storage.Member{User: user}
	if err := s.begin(ctx); err != nil {
		return m, err
	}
	defer s.leave()
	err := s.query(ctx, getMember, func(row scanner) (err error) {
		m, err = scanMember(row)
		return err
	}, string(group), string(user))
	if err != nil {
		return storage.Member{User: user}, failed("member", err)
	}
	return m, nil
}

func scanMember(row scanner) (m storage.Member, err error) {
	var user string
	var spans body
	if err = row(&user, &spans, &m.Changed, &m.Delivered, &m.Read, &m.Sent); err != nil || spans.gone {
		return m, err
	}
	m.User = chat.User(user)
	m.Spans, err = storage.ParseSpans(spans.bytes)
	return m, err
}
