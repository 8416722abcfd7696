SELECT id, hash, site, label, created, version
FROM tokens FINAL
WHERE NOT deleted
ORDER BY created, id
