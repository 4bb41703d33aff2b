package redis

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/internal/services"
)

// BenchmarkWhere asks for 100 users that are known here, or are nowhere.
func BenchmarkWhere(b *testing.B) {
	back := newBackend(b, services.Redis(b))
	g, p := back.join(b, "g1", presence.Handler{}), back.join(b, "", presence.Handler{})
	var known, nowhere []chat.User
	for i := range 100 {
		known = append(known, chat.User(fmt.Sprintf("user%d", i)))
		nowhere = append(nowhere, chat.User(fmt.Sprintf("nobody%d", i)))
		register(b, g, known[i], 1)
	}
	for name, users := range map[string][]chat.User{"known": known, "nowhere": nowhere} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := p.Where(b.Context(), users); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(users)), "ns/user")
		})
	}
}

func BenchmarkRegister(b *testing.B) {
	back := newBackend(b, services.Redis(b))
	g := back.join(b, "g1", presence.Handler{})
	var n atomic.Uint64
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			if _, err := g.Register(b.Context(), session(chat.User(fmt.Sprintf("user%d", i%10_000)), phone, i)); err != nil && err != presence.ErrSuperseded {
				b.Fatal(err)
			}
		}
	})
}
