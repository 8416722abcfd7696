SELECT hash, user, created, expires, version
FROM sessions FINAL
WHERE NOT deleted AND hash = unhex({hash:String})
