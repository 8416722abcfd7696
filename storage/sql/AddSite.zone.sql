SELECT time_zone
FROM system.time_zones
WHERE time_zone = {zone:String}
