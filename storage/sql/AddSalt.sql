SELECT zone, day, key, created
FROM salts
WHERE zone = {zone:String} AND day = {day:Int32}
ORDER BY created, key
LIMIT 1
