SELECT id, hash, site, label, created, version
FROM tokens FINAL
WHERE NOT deleted AND hash = unhex({hash:String})
