SELECT DISTINCT _partition_id
FROM salts
WHERE zone = {zone:String} AND day < {before:Int32}
