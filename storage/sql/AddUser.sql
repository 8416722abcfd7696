SELECT count(), countIf(NOT deleted)
FROM users FINAL
WHERE name = {name:String}
