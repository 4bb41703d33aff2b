// Package rpc is the link between processes: hints go to the process that has
// the sessions, one stream a pair, in frames; answers come back and are the
// sender's credit. What is lost on the way is a hint, and harmless.
//
// The schema is delivery.proto. Hints are encoded and decoded by hand, without
// a copy; all else is the generated code's.
package rpc

//go:generate ./generate.sh

import (
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/delivery"
)

// version is of frames and answers; who gets a later one uses what it knows.
// sharing is the first that knows hints without a packet.
const (
	version = 2
	sharing = 2
)

// The numbers of delivery.proto that are written by hand.
const (
	frameVersion = 1
	frameSeq     = 2
	frameHints   = 3

	hintUser   = 1
	hintKind   = 2
	hintPos    = 3
	hintPrev   = 4
	hintNode   = 5
	hintPacket = 6
	hintBare   = 7
	hintSame   = 8
)

func appendHeader(b []byte, seq uint64) []byte {
	b = protowire.AppendTag(b, frameVersion, protowire.VarintType)
	b = protowire.AppendVarint(b, version)
	b = protowire.AppendTag(b, frameSeq, protowire.VarintType)
	return protowire.AppendVarint(b, seq)
}

// appendHint appends a hint as a field of a frame. Same leaves the packet out, as
// it is that of the hint before.
func appendHint(b []byte, h *delivery.Hint, same bool) []byte {
	size := bytesSize(len(h.User)) + 1 + protowire.SizeVarint(uint64(h.Kind)) + 9 + 9 + bytesSize(len(h.Node))
	if same {
		size += 2
	} else {
		size += bytesSize(len(h.Packet))
	}
	if len(h.Bare) > 0 {
		size += bytesSize(len(h.Bare))
	}
	b = protowire.AppendTag(b, frameHints, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = appendBytes(b, hintUser, h.User)
	b = protowire.AppendTag(b, hintKind, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(h.Kind))
	b = protowire.AppendTag(b, hintPos, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, uint64(h.Pos))
	b = protowire.AppendTag(b, hintPrev, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, uint64(h.Prev))
	b = appendBytes(b, hintNode, h.Node[:])
	if !same {
		b = appendBytes(b, hintPacket, h.Packet)
	}
	if len(h.Bare) > 0 {
		b = appendBytes(b, hintBare, h.Bare)
	}
	if same {
		b = protowire.AppendTag(b, hintSame, protowire.VarintType)
		b = protowire.AppendVarint(b, 1)
	}
	return b
}

func bytesSize(n int) int { return 1 + protowire.SizeBytes(n) }

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendBytes(b, v)
}

var errMalformed = errors.New("rpc: a frame that is no protobuf")

// decodeHint reads a hint, whose bytes stay where they are. known is false of
// one that this version can do nothing with. before is the packet of the hint
// before it in the frame.
func decodeHint(b []byte, h *delivery.Hint, before []byte) (known bool, err error) {
	*h = delivery.Hint{}
	known = true
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false, errMalformed
		}
		b = b[n:]
		n = protowire.ConsumeFieldValue(num, typ, b)
		if n < 0 {
			return false, errMalformed
		}
		switch {
		case typ == protowire.BytesType:
			v, _ := protowire.ConsumeBytes(b)
			known = hintBytes(h, num, v) && known
		case num == hintKind && typ == protowire.VarintType:
			v, _ := protowire.ConsumeVarint(b)
			h.Kind = chat.EntryKind(v)
			known = known && v <= uint64(chat.EntryReceipt)
		case num == hintPos && typ == protowire.Fixed64Type:
			v, _ := protowire.ConsumeFixed64(b)
			h.Pos = chat.Position(v)
		case num == hintPrev && typ == protowire.Fixed64Type:
			v, _ := protowire.ConsumeFixed64(b)
			h.Prev = chat.Position(v)
		case num == hintSame && typ == protowire.VarintType:
			if v, _ := protowire.ConsumeVarint(b); v != 0 {
				h.Packet = before
			}
		}
		b = b[n:]
	}
	return known && len(h.User) > 0 && len(h.Packet) > 0, nil
}

// hintBytes sets one of a hint's byte fields and reports whether it can be.
func hintBytes(h *delivery.Hint, num protowire.Number, v []byte) bool {
	switch num {
	case hintUser:
		h.User = v
	case hintNode:
		return copy(h.Node[:], v) == len(h.Node) && len(v) == len(h.Node)
	case hintPacket:
		h.Packet = v
	case hintBare:
		h.Bare = v
	}
	return true
}

// outgoing is an encoded frame that gRPC gives back to frames.
type outgoing struct{ buf *[]byte }

// incoming is a received frame. It is valid until free.
type incoming struct {
	buf     mem.Buffer
	hints   []delivery.Hint
	unknown int   // hints that this version can do nothing with
	frame   Frame // all else

	rest []byte
}

func (in *incoming) free() {
	if in.buf != nil {
		in.buf.Free()
		in.buf = nil
	}
	clear(in.hints)
	in.hints, in.unknown = in.hints[:0], 0
}

// parse splits the frame into its hints and the rest.
func (in *incoming) parse() error {
	in.rest = in.rest[:0]
	var before []byte // the newest packet
	for b := in.buf.ReadOnlyData(); len(b) > 0; {
		num, typ, n := protowire.ConsumeField(b)
		if n < 0 {
			return errMalformed
		}
		if num != frameHints || typ != protowire.BytesType {
			in.rest = append(in.rest, b[:n]...)
			b = b[n:]
			continue
		}
		_, _, tag := protowire.ConsumeTag(b)
		body, _ := protowire.ConsumeBytes(b[tag:])
		var h delivery.Hint
		known, err := decodeHint(body, &h, before)
		before = h.Packet
		switch {
		case err != nil:
			return err
		case known:
			in.hints = append(in.hints, h)
		default:
			in.unknown++
		}
		b = b[n:]
	}
	return proto.Unmarshal(in.rest, &in.frame)
}

// codec is protobuf, for which frames are bytes.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	switch v := v.(type) {
	case *outgoing:
		return mem.BufferSlice{mem.NewBuffer(v.buf, &frames)}, nil
	case proto.Message:
		b, err := proto.Marshal(v)
		return mem.BufferSlice{mem.SliceBuffer(b)}, err
	}
	return nil, fmt.Errorf("rpc: %T is no message", v)
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch v := v.(type) {
	case *incoming:
		v.buf = data.MaterializeToBuffer(mem.DefaultBufferPool())
		return nil
	case proto.Message:
		return proto.Unmarshal(data.Materialize(), v)
	}
	return fmt.Errorf("rpc: %T is no message", v)
}

// frames are the buffers of outgoing frames.
var frames framePool

type framePool struct{ pool sync.Pool }

// frameBytesKept bounds the buffers that wait in the pool.
const frameBytesKept = 256 << 10

// Get implements mem.BufferPool.
func (p *framePool) Get(length int) *[]byte {
	b, ok := p.pool.Get().(*[]byte)
	if !ok || cap(*b) < length {
		fresh := make([]byte, max(length, 4<<10)) // smaller ones gRPC does not give back
		b = &fresh
	}
	*b = (*b)[:length]
	return b
}

// Put implements mem.BufferPool.
func (p *framePool) Put(b *[]byte) {
	if cap(*b) <= frameBytesKept {
		p.pool.Put(b)
	}
}
