ALTER TABLE sessions
DELETE WHERE expires < toDateTime({now:Int64}, 'UTC')
