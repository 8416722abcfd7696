-- What collectors share: sites, salts, the name of the server's present run,
-- and the latest time that was believed.

CREATE TABLE IF NOT EXISTS sites
(
    domain  String,
    id      UInt64,
    zone    String,
    created DateTime('UTC'),
    version UInt64,
    deleted Bool
)
ENGINE = ReplacingMergeTree(version)
ORDER BY domain
SETTINGS non_replicated_deduplication_window = 10000;

-- A partition per salt: dropping it destroys the key at once, where a DELETE
-- or a TTL leaves its bytes on the disk for minutes.
CREATE TABLE IF NOT EXISTS salts
(
    zone    String,
    day     Int32 COMMENT 'days since 1970-01-01 in the zone',
    key     FixedString(16) CODEC(NONE),
    created DateTime('UTC')
)
ENGINE = MergeTree
PARTITION BY (zone, day)
ORDER BY (zone, day)
SETTINGS non_replicated_deduplication_window = 10000, old_parts_lifetime = 1;

-- In memory on purpose: its row dies with the server's run that it names.
CREATE TABLE IF NOT EXISTS epochs
(
    id String
)
ENGINE = Memory;

CREATE TABLE IF NOT EXISTS clock
(
    id   UInt8,
    mark DateTime('UTC')
)
ENGINE = ReplacingMergeTree(mark)
ORDER BY id;
