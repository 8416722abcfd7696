SELECT toInt32(toDate(ts)) AS day, count() AS rows
FROM events
WHERE spool = {spool:UInt64} AND batch <= {last:UInt64} AND NOT has({except:Array(UInt64)}, batch)
GROUP BY day
