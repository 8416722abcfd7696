SELECT domain, id, zone, created, version, deleted
FROM sites FINAL
WHERE domain = {domain:String}
