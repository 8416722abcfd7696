SELECT max(version)
FROM sessions
WHERE hash = unhex({hash:String})
