SELECT id, name, password_hash, created, version
FROM users FINAL
WHERE NOT deleted
ORDER BY name, id
