-- Observations are written once and then merged over and over: most of what history cost was merges, half of that codecs.
--
-- Codecs: T64 packs offsets, times and partitions to the bits that they need, which saves what ZSTD found in them, and LZ4
-- does the rest for a third of the time. Measured on CityJoin's rows in inserts of 200 thousand, CPU a row: an insert
-- 0.53 -> 0.36 us, a merge 1.26 -> 0.93 us; on disk 10.9 -> 14.0 bytes a row. Parts that are there keep theirs until merged.
-- Statistics of columns, which no question here has a use for, cost another 0.1 us a row in each merge.
--
-- Parts: at least 16 of like size are merged at once, so a row is merged half as often on its way to a part of any size
-- (with the usual 5 it was 1.65 times by the time that 16 million rows were in, with 16 it is 0.6). Some 16 parts of each
-- size then wait for their merge. The roll-up and the other tables, which questions read whole, stay as they were.

ALTER TABLE observations
    MODIFY COLUMN event_at CODEC(T64, LZ4),
    MODIFY COLUMN received_at CODEC(Delta, LZ4),
    MODIFY COLUMN cell CODEC(Delta, LZ4),
    MODIFY COLUMN partition CODEC(T64, LZ4),
    MODIFY COLUMN offset CODEC(T64, LZ4),
    MODIFY COLUMN entity CODEC(LZ4),
    MODIFY COLUMN value CODEC(LZ4),
    MODIFY COLUMN confidence CODEC(LZ4),
    MODIFY COLUMN quality CODEC(LZ4),
    MODIFY COLUMN flags CODEC(LZ4),
    MODIFY COLUMN lon_e7 CODEC(Delta, LZ4),
    MODIFY COLUMN lat_e7 CODEC(Delta, LZ4),
    MODIFY COLUMN extra CODEC(LZ4);

-- Each by itself: an older server does not know all of them, and does without (streams/migrations.py).
ALTER TABLE observations MODIFY SETTING min_parts_to_merge_at_once = 16;

ALTER TABLE observations MODIFY SETTING auto_statistics_types = '';
