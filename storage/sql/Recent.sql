SELECT
    ts, site, CAST(kind, 'Int8'), name, interactive, hostname, path,
    entry_path, previous_path, visitor, visit,
    new_visitor, new_visit, bounce, duration,
    source, channel, referrer,
    utm_source, utm_medium, utm_campaign, utm_content, utm_term,
    country, region, city,
    device, browser, browser_version, os, os_version,
    network
FROM events
WHERE ts >= toDateTime({since:Int64}, 'UTC') - INTERVAL 1 DAY
    AND visit IN (SELECT visit FROM events WHERE ts >= toDateTime({since:Int64}, 'UTC'))
ORDER BY max(ts) OVER (PARTITION BY visit), visit, ts, batch, new_visit DESC, bounce DESC
