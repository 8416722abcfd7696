SELECT count()
FROM sessions
WHERE expires < toDateTime({now:Int64}, 'UTC')
