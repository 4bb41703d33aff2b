package shard

import (
	"encoding/binary"
	"math/bits"

	"github.com/dchest/siphash"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/view"
)

// Ring says which partition owns a user. It hashes names with SipHash-2-4 under
// a key that users do not know, so that they cannot choose their partition.
// It is immutable and safe for concurrent use.
type Ring struct {
	partitions uint64
	user       sipKey
	node       sipKey
}

type sipKey struct{ k0, k1 uint64 }

// nodeTweak keeps the hashes of node bits apart from those of partitions.
const nodeTweak = 0x6e6f646520626974 // "node bit"

// NewRing returns the ring of a log: its number of partitions, at least 1, and
// its key.
func NewRing(partitions int, key [16]byte) *Ring {
	k := sipKey{binary.LittleEndian.Uint64(key[:]), binary.LittleEndian.Uint64(key[8:])}
	return &Ring{
		partitions: uint64(max(partitions, 1)),
		user:       k,
		node:       sipKey{k.k0 ^ nodeTweak, k.k1 ^ nodeTweak},
	}
}

// Partitions is how many there are.
func (r *Ring) Partitions() int { return int(r.partitions) }

// Partition returns the partition that owns a user, with the tenant in the name.
func (r *Ring) Partition(user []byte) int { return r.partitionOf(r.hash(user)) }

// PartitionOf is Partition for a string. It does not allocate.
func (r *Ring) PartitionOf(user chat.User) int { return r.Partition(view.Bytes(user)) }

// Node returns the node bits of the ids of a user's device: 47 bits of a hash,
// and the multicast bit set.
func (r *Ring) Node(user chat.User, device chat.Device) chat.Node {
	var buf [2 * (chat.MaxTenant + chat.MaxUserName + chat.MaxDevice)]byte
	in := binary.AppendUvarint(buf[:0], uint64(len(user)))
	in = append(append(in, user...), device...)
	var sum [8]byte
	binary.BigEndian.PutUint64(sum[:], siphash.Hash(r.node.k0, r.node.k1, in))
	node := chat.Node(sum[:6])
	node[0] |= 1
	return node
}

// hash is the keyed hash of a user's name: it picks the partition and stands
// for the user in the owner's tables.
func (r *Ring) hash(user []byte) uint64 { return siphash.Hash(r.user.k0, r.user.k1, user) }

func (r *Ring) partitionOf(hash uint64) int {
	hi, _ := bits.Mul64(hash, r.partitions)
	return int(hi)
}
