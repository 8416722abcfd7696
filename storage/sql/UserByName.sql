SELECT id, name, password_hash, created, version
FROM users FINAL
WHERE NOT deleted AND name = {name:String}
ORDER BY created, id
LIMIT 1
