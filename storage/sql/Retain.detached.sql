-- A name that does not tell its day counts as 1970.
SELECT name
FROM system.detached_parts
WHERE database = currentDatabase() AND table = 'events'
    AND (modification_time < toDateTime({now:Int64}, 'UTC') - INTERVAL 1 DAY
        OR addMonths(YYYYMMDDToDate(toUInt32OrZero(coalesce(partition_id, ''))), {months:UInt8}) <= toDate(toDateTime({now:Int64}, 'UTC')))
