package shard

import (
	"fmt"
	"testing"

	"github.com/rookery-chat/rookery/chat"
)

func TestRingPartition(t *testing.T) {
	ring, other := NewRing(8, [16]byte{1}), NewRing(8, [16]byte{2})
	counts := make([]int, 8)
	moved := 0
	for i := range 8000 {
		user := chat.User(fmt.Sprintf("user%d", i))
		p := ring.PartitionOf(user)
		counts[p]++
		if p != ring.Partition([]byte(user)) {
			t.Fatalf("%s is in %d as a string and elsewhere as bytes", user, p)
		}
		if other.PartitionOf(user) != p {
			moved++
		}
	}
	for p, n := range counts {
		if n < 850 || n > 1150 {
			t.Errorf("partition %d has %d of 8000 users", p, n)
		}
	}
	if moved < 6500 {
		t.Errorf("another key moves %d of 8000 users: partitions can be guessed", moved)
	}
	if ring.Partitions() != 8 {
		t.Errorf("%d partitions", ring.Partitions())
	}
}

func TestRingNode(t *testing.T) {
	ring := NewRing(8, [16]byte{1})
	seen := map[chat.Node]string{}
	for _, name := range [][2]string{{"ann", "phone"}, {"ann", "web"}, {"annp", "hone"}, {"an", "nphone"}, {"bob", "phone"}, {"acme/ann", "phone"}} {
		n := ring.Node(chat.User(name[0]), chat.Device(name[1]))
		if n[0]&1 != 1 {
			t.Errorf("node %x of %v has no multicast bit", n, name)
		}
		if !chat.NewID(1, 1, n).Valid() {
			t.Errorf("an id with node %x is not valid", n)
		}
		if was, ok := seen[n]; ok {
			t.Errorf("%v has the node of %s", name, was)
		}
		seen[n] = fmt.Sprint(name)
	}
	node := ring.Node("ann", "phone")
	if again := ring.Node("ann", "phone"); again != node || node == NewRing(8, [16]byte{2}).Node("ann", "phone") {
		t.Error("a node is not a function of name and key")
	}
}

func TestRingDoesNotAllocate(t *testing.T) {
	ring := NewRing(8, [16]byte{1})
	user, device := chat.User("a-user-of-some-length"), chat.Device("phone")
	if n := testing.AllocsPerRun(100, func() { ring.PartitionOf(user); ring.Node(user, device) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRingOfOddArguments(t *testing.T) {
	long := chat.User(make([]byte, 1000)) // longer than any name there is
	for _, partitions := range []int{-1, 0, 1, 3, 1024} {
		r := NewRing(partitions, [16]byte{3})
		for _, user := range []chat.User{"", "ann", long} {
			if p := r.PartitionOf(user); p < 0 || p >= max(partitions, 1) {
				t.Errorf("partition %d of %d", p, partitions)
			}
			if n := r.Node(user, ""); n[0]&1 == 0 {
				t.Errorf("node %x", n)
			}
		}
	}
}
