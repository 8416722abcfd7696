SELECT name, toInt32(toDate(partition)), bytes_on_disk
FROM system.parts
WHERE database = currentDatabase() AND table = 'events' AND active AND level = 0
ORDER BY modification_time DESC
