SELECT id, hash, site, label, created, version
FROM tokens FINAL
WHERE NOT deleted AND id = {id:UInt64}
