package cql

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gocql/gocql"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// Of the figures: rows of a batch, batches of an Apply, Applies at once.
const (
	figureRows    = 50
	figureGroups  = 64
	figureOwners  = 2
	figureWorkers = 128
)

// TestFigures holds Apply against the raw driver: message rows of the same
// batches, the same number in flight, in one run, in turns. It says figures and
// judges none. FIGURES=10s says for how long each.
func TestFigures(t *testing.T) {
	each, err := time.ParseDuration(os.Getenv("FIGURES"))
	if err != nil {
		t.Skip("FIGURES=10s says for how long to measure")
	}
	o := fresh(t)
	o.InFlight, o.BatchRows, o.Connections = figureWorkers, figureRows, defaultConnections
	s := open(t, o)
	raw := session(t, o, o.Keyspace)
	defer raw.Close()
	rates := map[string][]float64{}
	for round := range 4 { // of which the first warms the server
		for name, measure := range map[string]func(context.Context) int64{
			"raw gocql":   func(ctx context.Context) int64 { return rawRows(ctx, t, raw) },
			"storage/cql": func(ctx context.Context) int64 { return storedRows(ctx, t, s) },
		} {
			ctx, cancel := context.WithTimeout(t.Context(), each)
			start := time.Now()
			rows := measure(ctx)
			rate := float64(rows) / time.Since(start).Seconds()
			cancel()
			t.Logf("round %d: %-11s %8.0f rows/s", round, name, rate)
			if round > 0 {
				rates[name] = append(rates[name], rate)
			}
		}
	}
	t.Logf("storage/cql is at %.0f %% of raw gocql", 100*mean(rates["storage/cql"])/mean(rates["raw gocql"]))
}

func mean(vs []float64) (sum float64) {
	for _, v := range vs {
		sum += v / float64(len(vs))
	}
	return sum
}

var figureContent = make([]byte, 100)

// figureMessage is one of a group, which is a chat of one day.
func figureMessage(group, i int64) chat.Message {
	from := chat.User([]byte{'a', byte('a' + group%26), byte('a' + group/26)})
	return chat.Message{
		ID: chat.NewID(uint64(day0)*10_000+0x01b21dd213814000+uint64(i), 7, chat.Node{1}), From: from, To: "bob",
		Place: chat.Position(i + 1), At: day0, Content: figureContent,
	}
}

// storedRows applies batches of many chats, as owners do.
func storedRows(ctx context.Context, t *testing.T, s *Store) int64 {
	var next, rows atomic.Int64
	var owners sync.WaitGroup
	for owner := range figureOwners {
		owners.Go(func() {
			var b storage.Batch
			for ctx.Err() == nil {
				b.Reset()
				b.Partition = owner
				i := next.Add(figureRows)
				for g := range int64(figureGroups) {
					for j := range int64(figureRows) {
						b.Messages = append(b.Messages, figureMessage(int64(owner)*figureGroups+g, i+j))
					}
				}
				b.Applied = chat.Position(i)
				if err := s.Apply(context.WithoutCancel(ctx), &b); err != nil {
					t.Error(err)
					return
				}
				rows.Add(figureRows * figureGroups)
			}
		})
	}
	owners.Wait()
	return rows.Load()
}

// rawRows writes the same rows as plainly as the driver lets.
func rawRows(ctx context.Context, t *testing.T, s *gocql.Session) int64 {
	var next, rows atomic.Int64
	var workers sync.WaitGroup
	for range figureWorkers {
		workers.Go(func() {
			for ctx.Err() == nil {
				n := next.Add(1)
				b := s.Batch(gocql.UnloggedBatch)
				for j := range int64(figureRows) {
					m := figureMessage(n%(figureOwners*figureGroups), n*figureRows+j)
					c := m.Chat()
					b.Query(putMessage, c[:], bucketOf(day0), gocql.UUID(m.ID), string(m.From), string(m.To), m.Content, gocql.UnsetValue,
						int8(1), int64(m.Place), m.At, gocql.UnsetValue, m.At*1000, int32(157680000))
				}
				if err := s.ExecuteBatch(b); err != nil {
					t.Error(err)
					return
				}
				rows.Add(figureRows)
			}
		})
	}
	workers.Wait()
	return rows.Load()
}
