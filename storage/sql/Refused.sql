CREATE OR REPLACE TABLE events_probe AS events
ENGINE = Null
