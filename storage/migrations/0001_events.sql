-- One row per event. A row is written once and never changed: every headline
-- metric is a sum of additive facts over it.
--
-- A day is a partition, so that it can be dropped with its bytes at once. The
-- TTL starts at the day's beginning: a day leaves a little early, never late.
-- 'batch' tells which spooled segment a row came with; what a crash left
-- half-stored is found by it.
CREATE TABLE IF NOT EXISTS events
(
    ts              DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    site            UInt64 CODEC(ZSTD(1)),
    kind            Enum8('pageview' = 1, 'custom' = 2, 'engagement' = 3) CODEC(ZSTD(1)),
    name            LowCardinality(String) CODEC(ZSTD(1)),
    interactive     Bool CODEC(ZSTD(1)),
    hostname        LowCardinality(String) CODEC(ZSTD(1)),
    path            String CODEC(ZSTD(1)),
    entry_path      String CODEC(ZSTD(1)),
    previous_path   String CODEC(ZSTD(1)),
    visitor         UInt64 CODEC(ZSTD(1)),
    visit           UInt64 CODEC(ZSTD(1)),
    new_visitor     UInt8 CODEC(ZSTD(1)),
    new_visit       UInt8 CODEC(ZSTD(1)),
    bounce          Int8 CODEC(ZSTD(1)),
    duration        UInt32 COMMENT 'seconds' CODEC(ZSTD(1)),
    scroll          UInt8 COMMENT 'percent; 255 is unknown' CODEC(ZSTD(1)),
    engaged         UInt32 COMMENT 'milliseconds' CODEC(ZSTD(1)),
    source          LowCardinality(String) CODEC(ZSTD(1)),
    channel         LowCardinality(String) CODEC(ZSTD(1)),
    referrer        String CODEC(ZSTD(1)),
    utm_source      LowCardinality(String) CODEC(ZSTD(1)),
    utm_medium      LowCardinality(String) CODEC(ZSTD(1)),
    utm_campaign    LowCardinality(String) CODEC(ZSTD(1)),
    utm_content     LowCardinality(String) CODEC(ZSTD(1)),
    utm_term        LowCardinality(String) CODEC(ZSTD(1)),
    country         LowCardinality(String) CODEC(ZSTD(1)),
    region          LowCardinality(String) CODEC(ZSTD(1)),
    city            LowCardinality(String) CODEC(ZSTD(1)),
    device          LowCardinality(String) CODEC(ZSTD(1)),
    browser         LowCardinality(String) CODEC(ZSTD(1)),
    browser_version LowCardinality(String) CODEC(ZSTD(1)),
    os              LowCardinality(String) CODEC(ZSTD(1)),
    os_version      LowCardinality(String) CODEC(ZSTD(1)),
    network         LowCardinality(String) COMMENT 'the masked network and never more' CODEC(ZSTD(1)),
    props           Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    spool           UInt64 CODEC(ZSTD(1)),
    batch           UInt64 CODEC(Delta(8), ZSTD(1)),
    INDEX batch_range batch TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(ts)
ORDER BY (site, toStartOfHour(ts), visitor, ts)
TTL toStartOfDay(ts) + INTERVAL 3 MONTH DELETE
SETTINGS
    ttl_only_drop_parts = 1,
    merge_with_ttl_timeout = 3600,
    old_parts_lifetime = 1,
    non_replicated_deduplication_window = 100000,
    min_rows_to_fsync_after_merge = 1,
    min_compressed_bytes_to_fsync_after_merge = 1;
