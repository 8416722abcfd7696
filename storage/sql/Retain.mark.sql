-- The newest event stands in until a time has been believed. Without either the
-- answer is 1970.
SELECT if(toUnixTimestamp(kept) > 0, kept, newest)
FROM
    (SELECT max(mark) AS kept FROM clock) AS k,
    (SELECT max(ts) AS newest FROM events) AS e
