SELECT count()
FROM audit
WHERE action = 'site.remove' AND at >= toDateTime({since:Int64}, 'UTC')
