-- Who may ask. Secrets are hashes.

CREATE TABLE IF NOT EXISTS users
(
    id            UInt64,
    name          String,
    password_hash String,
    created       DateTime('UTC'),
    version       UInt64,
    deleted       Bool
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS tokens
(
    id      UInt64,
    hash    FixedString(32),
    site    UInt64,
    label   String,
    created DateTime('UTC'),
    version UInt64,
    deleted Bool
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id;

CREATE TABLE IF NOT EXISTS sessions
(
    hash    FixedString(32),
    user    UInt64,
    created DateTime('UTC'),
    expires DateTime('UTC'),
    version UInt64,
    deleted Bool
)
ENGINE = ReplacingMergeTree(version)
ORDER BY hash;

CREATE TABLE IF NOT EXISTS audit
(
    at     DateTime64(3, 'UTC'),
    actor  String,
    action LowCardinality(String),
    target String
)
ENGINE = MergeTree
ORDER BY at;
