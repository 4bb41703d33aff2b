// Package media is what lies beside the flow of messages: pictures and files,
// which clients encrypt, and carry to and from an object store themselves by
// signed URLs. The gateway decides who may, and never touches the bytes.
// docs/media.md tells it whole.
package media

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// PartBytes is the size of the parts that a blob is uploaded in; the last one
// is what is left. An object store takes no smaller ones than 5 MiB.
const PartBytes = 8 << 20

// LeastCharge is what a blob counts at least against its owner's quota.
const LeastCharge = 4 << 10

// Blob is what a name says. There is no record of blobs beside their names: who
// owns one, its size, its type and its end are in the name, under a MAC.
type Blob struct {
	Name    string
	Tenant  string
	Owner   string // a hash of the user's name, in hex
	Size    int64
	Type    string // its Content-Type
	Expires time.Time
}

// Key is where a blob lies in a store: its owner's folder and its name.
func (b *Blob) Key() string { return Prefix(b.Tenant, b.Owner) + b.Name }

// Prefix is the beginning of all keys of an owner.
func Prefix(tenant, owner string) string {
	if tenant == "" {
		return "d/" + owner + "/"
	}
	return "t-" + tenant + "/" + owner + "/"
}

// Parts is how many parts the blob is uploaded in, numbered from 1.
func (b *Blob) Parts() int { return int((b.Size + PartBytes - 1) / PartBytes) }

// PartSize is the size of a part.
func (b *Blob) PartSize(part int) int64 {
	return min(PartBytes, b.Size-int64(part-1)*PartBytes)
}

// Charge is what the blob counts against its owner's quota.
func (b *Blob) Charge() int64 { return max(b.Size, LeastCharge) }

const (
	nameVersion = 1
	ownerBytes  = 8
	nonceBytes  = 8
	macBytes    = 16
	fixedBytes  = 1 + ownerBytes + 4 + 8 + nonceBytes
	maxType     = 64
	maxName     = (fixedBytes+maxType+macBytes)*4/3 + 4
)

// ErrName says that a name is none that this deployment gave.
var ErrName = errors.New("media: no name of a blob of this server's")

// Names makes and reads names of blobs. All processes of a deployment have the
// same key.
type Names struct{ key []byte }

// NewNames takes a secret of any length.
func NewNames(secret []byte) *Names { return &Names{key: derive(secret, "rookery media names")} }

// derive makes a key for one purpose of a secret that has others too.
func derive(secret []byte, purpose string) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(purpose))
	return h.Sum(nil)
}

// Owner is what a name says of a user.
func (n *Names) Owner(u chat.User) string {
	return hex.EncodeToString(derive(n.key, "owner\x00"+string(u))[:ownerBytes])
}

// New names a blob: version, owner, seconds of its end, size, a random number,
// type, MAC; base64url. Who does not know the name cannot guess it.
func (n *Names) New(u chat.User, size int64, typ string, expires time.Time) (Blob, error) {
	owner, _ := hex.DecodeString(n.Owner(u))
	b := append([]byte{nameVersion}, owner...)
	b = binary.BigEndian.AppendUint32(b, uint32(expires.Unix()))
	b = binary.BigEndian.AppendUint64(b, uint64(size))
	nonce := make([]byte, nonceBytes)
	rand.Read(nonce) // never fails
	b = append(append(b, nonce...), typ...)
	b = append(b, n.mac(u.Tenant(), b)...)
	return n.Parse(u.Tenant(), base64.RawURLEncoding.EncodeToString(b))
}

func (n *Names) mac(tenant string, payload []byte) []byte {
	h := hmac.New(sha256.New, n.key)
	h.Write([]byte("name\x00" + tenant + "\x00"))
	h.Write(payload)
	return h.Sum(nil)[:macBytes]
}

// Parse reads a name of a tenant's.
func (n *Names) Parse(tenant, name string) (Blob, error) {
	if len(name) > maxName {
		return Blob{}, ErrName
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(name)
	if err != nil || len(b) < fixedBytes+macBytes || b[0] != nameVersion {
		return Blob{}, ErrName
	}
	payload, mac := b[:len(b)-macBytes], b[len(b)-macBytes:]
	if !hmac.Equal(mac, n.mac(tenant, payload)) {
		return Blob{}, ErrName
	}
	p := payload[1+ownerBytes:]
	return Blob{
		Name: name, Tenant: tenant, Owner: hex.EncodeToString(payload[1 : 1+ownerBytes]),
		Expires: time.Unix(int64(binary.BigEndian.Uint32(p)), 0), Size: int64(binary.BigEndian.Uint64(p[4:])), Type: string(p[12+nonceBytes:]),
	}, nil
}

// ParseKey reads a blob's key.
func (n *Names) ParseKey(key string) (Blob, error) {
	tenant, rest, _ := strings.Cut(key, "/")
	owner, name, ok := strings.Cut(rest, "/")
	switch named, of := strings.CutPrefix(tenant, "t-"); {
	case of && named != "":
		tenant = named
	case tenant == "d":
		tenant = ""
	default:
		return Blob{}, ErrName
	}
	b, err := n.Parse(tenant, name)
	if err != nil || !ok || b.Owner != owner {
		return Blob{}, ErrName
	}
	return b, nil
}
