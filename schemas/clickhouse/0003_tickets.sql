-- Hotline tickets with their words, and the one restricted table that holds what is about a person.
-- Grant analysts v_tickets, not these: text and address are as the caller gave them.

CREATE TABLE IF NOT EXISTS tickets
(
    event_at         DateTime64(3, 'UTC')    COMMENT '受理时间 | when the ticket was taken, by the record itself'  CODEC(Delta, ZSTD(1)),
    received_at      DateTime64(3, 'UTC')    COMMENT '到达时间 | when the broker appended the raw record'  CODEC(Delta, ZSTD(1)),
    partition        Int32                   COMMENT '原始分区 | partition of the raw record',
    offset           Int64                   COMMENT '原始偏移量 | offset of the raw record'  CODEC(Delta, ZSTD(1)),
    ticket_id        String                  COMMENT '工单编号 | the ticket'  CODEC(ZSTD(1)),
    category         LowCardinality(String)  COMMENT '类别 | what it is about',
    urgency          LowCardinality(String)  COMMENT '紧急程度：normal 一般、urgent 紧急、critical 特急 | normal, urgent or critical',
    text             String                  COMMENT '诉求内容（未脱敏） | what was said, unmasked'  CODEC(ZSTD(3)),
    address          Nullable(String)        COMMENT '地址（未脱敏） | the place in words, unmasked'  CODEC(ZSTD(3)),
    text_masked      String                  COMMENT '诉求内容（已脱敏） | what was said, masked by schemas/privacy.py'  CODEC(ZSTD(3)),
    address_masked   Nullable(String)        COMMENT '地址（已脱敏） | the place in words, masked by schemas/privacy.py'  CODEC(ZSTD(3)),
    channel          LowCardinality(Nullable(String)) COMMENT '受理渠道 | how it came in',
    parent_ticket_id Nullable(String)        COMMENT '父工单编号 | the ticket that this one repeats or belongs to'  CODEC(ZSTD(1)),
    cell             Int64                   COMMENT '网格单元编号，-1 表示无法定位 | compute cell, -1 when it could not be placed',
    lon_e7           Int32                   COMMENT '经度（1e-7 度，WGS-84），-2147483648 表示无 | longitude in 1e-7 degree, WGS-84; -2147483648 for none',
    lat_e7           Int32                   COMMENT '纬度（1e-7 度，WGS-84），-2147483648 表示无 | latitude in 1e-7 degree, WGS-84; -2147483648 for none',
    flags            UInt16                  COMMENT '标志位，同 observations | bits as in observations'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(event_at)
ORDER BY (category, toStartOfHour(event_at), ticket_id, event_at, partition, offset)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '热线工单（含未脱敏内容，限制访问）；分析请用 v_tickets | hotline tickets with unmasked words, restricted; analysts read v_tickets';

CREATE TABLE IF NOT EXISTS personal_fields
(
    event_at  DateTime64(3, 'UTC')    COMMENT '事件时间，用于到期删除 | event time of the record, for expiry'  CODEC(Delta, ZSTD(1)),
    topic     LowCardinality(String)  COMMENT '原始主题 | raw topic: readings, camera-events or tickets',
    partition Int32                   COMMENT '原始分区 | partition of the raw record',
    offset    Int64                   COMMENT '原始偏移量 | offset of the raw record'  CODEC(Delta, ZSTD(1)),
    field     LowCardinality(String)  COMMENT '字段名，如 caller_phone | name of the field, such as caller_phone',
    value     String                  COMMENT '个人信息原文 | the personal value as it was given'  CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(event_at)
ORDER BY (topic, partition, offset, field)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '个人信息（限制访问，唯一存放处） | personal fields, restricted: the one place that holds them';
