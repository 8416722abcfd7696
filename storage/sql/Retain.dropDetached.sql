ALTER TABLE events
DROP DETACHED PART {part:String}
SETTINGS allow_drop_detached = 1
