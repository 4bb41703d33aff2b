package gateway

import (
	"context"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
)

// auditUsers is how many heads of chains are read at once.
const auditUsers = 256

// audited is sessions whose places are to be compared with the heads of their
// chains: a hint that was lost shows in no other way when nothing comes after
// it (law 6).
type audited struct {
	users []chat.User
	refs  []presence.Ref
}

// audit puts a session into the next batch, at the end of the loop's turn.
func (g *Gateway) audit(s *session) {
	if s.state != live {
		s.unsure = true // it reads its inbox, but may have read it before
		return
	}
	st := s.st()
	st.audits.users = append(st.audits.users, s.user())
	st.audits.refs = append(st.audits.refs, s.ref())
	if len(st.audits.users) == auditUsers {
		g.auditNow(st)
	}
}

// auditNow queues the batch. Where the workers are behind it is dropped: the
// next heartbeat asks again.
func (g *Gateway) auditNow(st *loopState) {
	a := st.audits
	st.audits = audited{}
	g.jobs.try(func() {
		ctx, cancel := context.WithTimeout(context.Background(), jobTimeout)
		defer cancel()
		heads, err := g.store.Heads(ctx, a.users, nil)
		if err != nil {
			g.opt.Logger.Warn("heads of chains not read", "err", err)
			return
		}
		g.Stats.Audited.Add(uint64(len(heads)))
		for i, head := range heads {
			if head > 0 {
				g.post(a.refs[i], func(s *session) { g.auditedAt(s, a.users[i], head) })
			}
		}
	})
}

// auditedAt makes a session that stands below the head of its chain catch up,
// as far as is applied: a head may be stored before it is, and stays above for
// as long as its owner is away. What is on its way to the session meanwhile does
// no harm.
func (g *Gateway) auditedAt(s *session, user chat.User, head chat.Position) {
	if s.user() == user && s.state == live && s.cur < head {
		g.Stats.AuditBehind.Add(1)
		g.fallBehind(s, s.cur)
	}
}
