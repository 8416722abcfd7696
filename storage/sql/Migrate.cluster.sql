SELECT
    uniqIf(shard_num, cluster = {cluster:String}),
    countIf(cluster = {cluster:String}),
    arrayStringConcat(arraySort(groupUniqArray(cluster)), ', ')
FROM system.clusters
