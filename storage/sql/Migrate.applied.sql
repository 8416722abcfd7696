SELECT DISTINCT version
FROM migrations
