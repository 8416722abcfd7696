SELECT DISTINCT visitor
FROM events
WHERE site = {site:UInt64} AND ts >= toDateTime({since:Int64}, 'UTC')
