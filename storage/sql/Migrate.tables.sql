SELECT name, create_table_query
FROM system.tables
WHERE database = currentDatabase() AND engine IN ('ReplicatedMergeTree', 'ReplicatedReplacingMergeTree', 'Memory')
ORDER BY name
