package rpc

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
)

// run keeps a stream to the peer until it is not needed any more.
func (q *peer) run() {
	conn, err := grpc.NewClient("passthrough:///"+q.to.Address, q.p.dial...)
	if err != nil {
		q.p.opt.Logger.Error("no address of a gateway", "gateway", q.to.ID, "address", q.to.Address, "err", err)
		q.sleep(q.p.opt.IdleAfter) // not again with each hint
		q.retire(true)
		return
	}
	defer conn.Close()
	pause, reached, told := reconnectMin, time.Now(), false
	for {
		answered, err := q.stream(conn)
		switch {
		case q.p.ctx.Err() != nil:
			q.retire(true)
			return
		case errors.Is(err, errRetired):
			return
		case answered:
			pause, reached, told = reconnectMin, time.Now(), false
		}
		q.p.Stats.Breaks.Add(1)
		q.broken()
		if !told {
			told = true
			q.p.opt.Logger.Warn("no link to a gateway: its users catch up", "gateway", q.to.ID, "address", q.to.Address, "err", err)
		}
		if time.Since(reached) >= q.p.opt.IdleAfter {
			q.retire(true)
			return
		}
		q.sleep(pause)
		pause = min(2*pause, q.p.opt.ReconnectMax)
	}
}

// sleep waits for up to a pause, not all peers for the same.
func (q *peer) sleep(pause time.Duration) {
	select {
	case <-q.p.ctx.Done():
	case <-time.After(pause/2 + rand.N(pause/2)):
	}
}

// stream opens a stream and sends on it until it breaks, or the peer is not
// used any more and was retired. answered says that it came to something.
func (q *peer) stream(conn *grpc.ClientConn) (answered bool, err error) {
	ctx, cancel := context.WithCancel(q.p.ctx)
	defer cancel()
	stream, err := NewDeliveryClient(conn).Link(ctx)
	if err != nil {
		return false, err
	}
	ended := make(chan error, 1)
	go func() {
		for {
			a, err := stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			answered = true
			q.answered(a)
		}
	}()
	err = q.send(stream, ended)
	cancel()
	if why := <-ended; err == nil {
		err = why
	}
	return answered, err
}

// send sends frames until the stream has ended, whose reason is left to read
// from ended, or returns errRetired.
func (q *peer) send(stream grpc.ClientStream, ended chan error) error {
	idle := time.NewTimer(q.p.opt.IdleAfter)
	defer idle.Stop()
	for {
		f, ok := q.next()
		if ok {
			q.p.Stats.Frames.Add(1)
			q.p.Stats.Items.Add(uint64(f.items))
			if err := stream.SendMsg(&outgoing{f.buf}); err != nil && !errors.Is(err, io.EOF) {
				return err
			} else if err != nil { // why is what Recv says
				return nil
			}
			idle.Reset(q.p.opt.IdleAfter)
			continue
		}
		select {
		case <-q.wake:
		case err := <-ended:
			ended <- err
			return nil
		case <-idle.C:
			if q.retire(false) {
				return errRetired
			}
			idle.Reset(q.p.opt.IdleAfter)
		}
	}
}
