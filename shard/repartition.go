package shard

// Move is the users that a change of the number of partitions takes from one
// partition to another.
type Move struct {
	From, To int
	Share    float64 // of all users
}

// Moves says which users move where. A partition owns a range of hashes, so it
// is exact but for the luck of the hash.
func Moves(from, to int) (moves []Move) {
	for p, q := 0, 0; p < from && q < to; {
		end := min((p+1)*to, (q+1)*from)
		begin := max(p*to, q*from)
		moves = append(moves, Move{From: p, To: q, Share: float64(end-begin) / float64(from*to)})
		if (p+1)*to == end {
			p++
		}
		if (q+1)*from == end {
			q++
		}
	}
	return moves
}
