SELECT partition_id, partition, sum(rows)
FROM system.parts
WHERE database = currentDatabase() AND table = 'events' AND active
    AND addMonths(toDate(partition), {months:UInt8}) <= toDate(toDateTime({now:Int64}, 'UTC'))
GROUP BY partition_id, partition
ORDER BY partition
