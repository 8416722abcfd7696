SELECT count()
FROM users FINAL
WHERE NOT deleted
