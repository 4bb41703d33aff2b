package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

// Packet types (docs/protocol.md section 13).
const (
	typeHello, typeSend, typeMark, typeRead, typePing = 1, 2, 3, 4, 11

	typeWelcome, typeAccepted, typeRefused, typeMessage, typeCopy = 32, 33, 34, 35, 36
	typeReceipt, typeCaughtUp, typeTruncated                      = 37, 38, 39
	typeOutcome, typeError, typeBye, typeGroupMessage             = 44, 47, 48, 54
)

// fields is one decoded packet, its type at 0. Elements that are not there read
// as zero.
type fields []any

func (f fields) at(i int) any {
	if i < len(f) {
		return f[i]
	}
	return nil
}

func (f fields) uint(i int) uint64 {
	switch v := f.at(i).(type) {
	case int8:
		return uint64(v)
	case int16:
		return uint64(v)
	case int32:
		return uint64(v)
	case int64:
		return uint64(v)
	case uint8:
		return uint64(v)
	case uint16:
		return uint64(v)
	case uint32:
		return uint64(v)
	case uint64:
		return v
	}
	return 0
}

func (f fields) str(i int) string {
	s, _ := f.at(i).(string)
	return s
}

func (f fields) bin(i int) []byte {
	b, _ := f.at(i).([]byte)
	return b
}

func (f fields) id(i int) (id [16]byte) {
	copy(id[:], f.bin(i))
	return id
}

// decode splits a WebSocket message into packets.
func decode(msg []byte) ([]fields, error) {
	d := msgpack.NewDecoder(bytes.NewReader(msg))
	var all []fields
	for {
		v, err := d.DecodeInterface()
		if err != nil {
			if len(all) > 0 && errors.Is(err, io.EOF) {
				return all, nil
			}
			return nil, fmt.Errorf("a message is no sequence of packets: %w", err)
		}
		f, ok := v.([]any)
		if !ok || len(f) == 0 {
			return nil, fmt.Errorf("a packet is no array: %v", v)
		}
		all = append(all, f)
	}
}

// encode makes a packet of elements.
func encode(elements ...any) []byte {
	b, err := msgpack.Marshal(elements)
	if err != nil {
		panic(err)
	}
	return b
}

// timeID makes a message id (section 4.2).
func timeID(ticks uint64, seq uint16, node []byte) (id [16]byte) {
	binary.BigEndian.PutUint32(id[0:], uint32(ticks))
	binary.BigEndian.PutUint16(id[4:], uint16(ticks>>32))
	binary.BigEndian.PutUint16(id[6:], uint16(ticks>>48)&0x0fff|0x1000)
	binary.BigEndian.PutUint16(id[8:], seq&0x3fff|0x8000)
	copy(id[10:], node)
	return id
}

func ticksOf(t time.Time) uint64 { return uint64(t.UnixNano())/100 + 0x01b21dd213814000 }

// signer makes tokens with the development key of a data folder.
type signer struct{ key ed25519.PrivateKey }

func loadSigner(data string) (*signer, error) {
	b, err := os.ReadFile(filepath.Join(data, "dev-key.json"))
	if err != nil {
		return nil, err
	}
	var f struct{ Private string }
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, err
	}
	seed, err := base64.RawURLEncoding.DecodeString(f.Private)
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("dev-key.json: the seed has %d bytes: %v", len(seed), err)
	}
	return &signer{ed25519.NewKeyFromSeed(seed)}, nil
}

func (s *signer) token(user string) string {
	now := time.Now().Unix()
	head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"EdDSA","typ":"JWT","kid":"dev"}`))
	body := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"sub":%q,"iat":%d,"exp":%d}`, user, now, now+86400))
	sig := ed25519.Sign(s.key, []byte(head+"."+body))
	return head + "." + body + "." + base64.RawURLEncoding.EncodeToString(sig)
}
