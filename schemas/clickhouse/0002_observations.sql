-- Every archived observation: one row for each raw record that could be decoded, placed or not.
--
-- The columns are those of an observation frame (schemas/observation.py), so that frames are inserted as they are.
--
-- Order: kind and hour first, because questions name a kind and a time; then the cell, so that one place's rows of an hour
-- lie together; at the end source, partition and offset, which identify the raw record: the same record inserted twice
-- collapses in a merge (second line of defence; the first is the archive's coverage and insert token, hence the window).
-- Measured on 200 thousand rows a batch: 24 bytes a row on disk; the order costs 0.3 us a row over plain event time.

CREATE TABLE IF NOT EXISTS observations
(
    event_at    DateTime64(3, 'UTC')             COMMENT '事件时间 | when it happened, by the record itself'  CODEC(Delta, ZSTD(1)),
    received_at DateTime64(3, 'UTC')             COMMENT '到达时间 | when the broker appended the raw record'  CODEC(Delta, ZSTD(1)),
    cell        Int64                            COMMENT '网格单元编号，-1 表示无法定位 | compute cell, -1 when it could not be placed' CODEC(Delta, ZSTD(1)),
    source      LowCardinality(String)           COMMENT '来源 | raw topic: readings, camera-events or tickets',
    partition   Int32                            COMMENT '原始分区 | partition of the raw record'  CODEC(ZSTD(1)),
    offset      Int64                            COMMENT '原始偏移量 | offset of the raw record'  CODEC(Delta, ZSTD(1)),
    kind        LowCardinality(String)           COMMENT '指标、事件或类别 | metric, event or category',
    entity      String                           COMMENT '设备、摄像头或工单编号 | device, camera or ticket'  CODEC(ZSTD(1)),
    value       Float64                          COMMENT '数值 | value measured; count of a camera event; 1 for a ticket'  CODEC(ZSTD(1)),
    confidence  Float32                          COMMENT '置信度，0 到 1 | 0 to 1; 1 when the source gives none'  CODEC(ZSTD(1)),
    quality     UInt8                            COMMENT '质量：0 好，1 可疑，2 坏 | 0 good, 1 suspect, 2 bad'  CODEC(ZSTD(1)),
    flags       UInt16                           COMMENT '标志位 | bits: 1 late, 4 out of range, 8 unit mismatch, 16 place from register, 32 datum converted, 64 unknown kind, 128 unplaced'  CODEC(ZSTD(1)),
    lon_e7      Int32                            COMMENT '经度（1e-7 度，WGS-84），-2147483648 表示无 | longitude in 1e-7 degree, WGS-84; -2147483648 for none'  CODEC(Delta, ZSTD(1)),
    lat_e7      Int32                            COMMENT '纬度（1e-7 度，WGS-84），-2147483648 表示无 | latitude in 1e-7 degree, WGS-84; -2147483648 for none'  CODEC(Delta, ZSTD(1)),
    unit        LowCardinality(Nullable(String)) COMMENT '单位 | unit as the record gave it',
    device_type LowCardinality(Nullable(String)) COMMENT '设备类型 | device type as the record gave it',
    extra       Nullable(String)                 COMMENT '其余字段（JSON），不含个人信息和工单表已有的字段 | the other fields as JSON, without personal fields and those that tickets has columns for'  CODEC(ZSTD(1)),
    INDEX by_entity entity TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(event_at)
ORDER BY (kind, toStartOfHour(event_at), cell, event_at, source, partition, offset)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '观测记录；分析请用 v_observations | observations; analysts read v_observations';
