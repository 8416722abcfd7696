SELECT id, name, password_hash, created, version
FROM users FINAL
WHERE NOT deleted AND id = {id:UInt64}
