SELECT count()
FROM system.parts
WHERE database = currentDatabase() AND table = 'salts' AND partition_id = {id:String}
    AND rows > 0 -- the empty part that covers a dropped one stays for minutes
