CREATE TABLE IF NOT EXISTS migrations
(
    version UInt32,
    name    String,
    applied DateTime('UTC')
)
ENGINE = ReplacingMergeTree(applied)
ORDER BY version
