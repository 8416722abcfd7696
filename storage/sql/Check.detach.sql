ALTER TABLE events
DETACH PART {part:String}
