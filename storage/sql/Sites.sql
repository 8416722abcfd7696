SELECT id, domain, zone
FROM sites FINAL
WHERE NOT deleted
ORDER BY domain
