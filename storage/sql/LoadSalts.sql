SELECT zone, day, key, created
FROM salts
ORDER BY zone, day, created, key
LIMIT 1 BY zone, day
