SELECT uniq(visitor)
FROM events
WHERE site = {site:UInt64}
    AND ts > toDateTime({since:Int64}, 'UTC')
    AND ts >= now('UTC') - toIntervalMonth({months:UInt8})
