SELECT at, actor, action, target
FROM audit
ORDER BY at DESC
LIMIT {limit:UInt64}
