package session

// The visits of a shard are queued in buckets by the minute of their last
// event, or of an earlier one: an event moves its visit nowhere, so it touches
// no neighbours. When a bucket's minute is over for visits, those that had
// events since are moved on, and the others end.
const buckets = 64 // minutes; a power of two, more than twice Timeout

type bucket struct{ oldest, newest uint32 }

func bucketOf(seconds int64) uint8 { return uint8(minuteOf(seconds) & (buckets - 1)) }

func minuteOf(seconds int64) int64 { return seconds / 60 }

// enqueue puts a visit at the end of a bucket.
func (s *shard) enqueue(i uint32, b uint8) {
	v, q := s.pool.visit(i), &s.wheel[b]
	v.queued, v.older, v.newer = b, q.newest, none
	if q.newest == none {
		q.oldest = i
	} else {
		s.pool.visit(q.newest).newer = i
	}
	q.newest = i
}

// dequeue takes it out.
func (s *shard) dequeue(i uint32) {
	v := s.pool.visit(i)
	q := &s.wheel[v.queued]
	if v.older == none {
		q.oldest = v.newer
	} else {
		s.pool.visit(v.older).newer = v.newer
	}
	if v.newer == none {
		q.newest = v.older
	} else {
		s.pool.visit(v.newer).older = v.older
	}
}

// expire ends visits that are over, and looks at up to limit for that. Two for
// each event that comes in keep pace with the visits that begin.
func (s *shard) expire(now int64, limit int) {
	horizon := minuteOf(now - timeout)
	if s.swept > horizon+1 || s.swept < horizon-buckets+1 {
		s.swept = horizon - buckets + 1 // the first time, after a long silence, or the clock was set back
	}
	for limit > 0 && s.swept <= horizon {
		here := uint8(s.swept & (buckets - 1))
		i := s.wheel[here].oldest
		if i == none {
			s.swept++
			continue
		}
		v := s.pool.visit(i)
		switch due := bucketOf(v.last); {
		case !alive(v.last, now):
			s.remove(i)
		case due != here:
			s.dequeue(i)
			s.enqueue(i, due)
		case s.swept == horizon:
			return // what comes after it is hardly older
		default:
			s.swept++
			continue
		}
		limit--
	}
}

// eldest finds the visit that was silent longest, to the minute; none if there
// is no other than but.
func (s *shard) eldest(but uint32) uint32 {
	for minute := s.swept; minute < s.swept+buckets; minute++ {
		here := uint8(minute & (buckets - 1))
		for last := s.wheel[here].newest; ; {
			i := s.wheel[here].oldest
			if i == none {
				break
			}
			if due := bucketOf(s.pool.visit(i).last); i != but && due == here {
				return i
			} else if due == here {
				// The one to be kept; whoever is behind it may go.
				if next := s.pool.visit(i).newer; next != none {
					return next
				}
				break
			} else {
				s.dequeue(i)
				s.enqueue(i, due)
			}
			if i == last {
				break
			}
		}
	}
	return none
}
