SELECT toInt32(toDate(ts)) AS day, count() AS rows
FROM events
WHERE spool = {spool:UInt64} AND batch = {batch:UInt64}
GROUP BY day
