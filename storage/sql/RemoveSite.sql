ALTER TABLE events
DELETE WHERE site = {site:UInt64}
SETTINGS mutations_sync = 2
