SELECT count()
FROM events
WHERE site = {site:UInt64}
