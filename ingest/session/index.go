package session

import "math/bits"

// index finds blocks by a hash: open addressing with linear probing, 8 bytes a
// slot, between three eighths and three quarters full. A slot holds the upper
// 40 bits of the hash and the block's number plus one, so that it is moved, and
// nearly always told from others, without a look at the block.
type index struct {
	slots []uint64 // 0 is empty; a power of two of them
	shift uint8
	count int
}

const (
	refBits = 24
	refMask = 1<<refBits - 1
)

func (x *index) home(h uint64) int { return int(h >> x.shift) }

// probe returns the next block from slot i on whose hash may be h, and the slot
// after it; none if there is no other.
func (x *index) probe(h uint64, i int) (block uint32, next int) {
	if x.count == 0 {
		return none, 0
	}
	for mask := len(x.slots) - 1; ; i++ {
		v := x.slots[i&mask]
		if v == 0 {
			return none, 0
		}
		if v>>refBits == h>>refBits {
			return uint32(v&refMask) - 1, i + 1
		}
	}
}

// add adds a block that is not there.
func (x *index) add(h uint64, block uint32) {
	if x.count >= len(x.slots)/4*3 {
		x.grow()
	}
	x.put(h>>refBits<<refBits | uint64(block+1))
	x.count++
}

func (x *index) put(v uint64) {
	mask := len(x.slots) - 1
	i := x.home(v)
	for x.slots[i&mask] != 0 {
		i++
	}
	x.slots[i&mask] = v
}

func (x *index) grow() {
	old := x.slots
	x.slots = make([]uint64, max(8, 2*len(old)))
	x.shift = uint8(64 - bits.TrailingZeros(uint(len(x.slots))))
	for _, v := range old {
		if v != 0 {
			x.put(v)
		}
	}
}

// drop removes a block that is there, and closes the gap.
func (x *index) drop(h uint64, block uint32) {
	mask := len(x.slots) - 1
	want := h>>refBits<<refBits | uint64(block+1)
	gap := x.home(h)
	for x.slots[gap&mask] != want {
		gap++
	}
	gap &= mask
	for i := (gap + 1) & mask; x.slots[i] != 0; i = (i + 1) & mask {
		// One that is at home behind the gap must stay.
		if home := x.home(x.slots[i]); (i-home)&mask >= (i-gap)&mask {
			x.slots[gap] = x.slots[i]
			gap = i
		}
	}
	x.slots[gap] = 0
	x.count--
}
