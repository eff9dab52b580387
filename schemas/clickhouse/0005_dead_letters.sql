-- Raw records that could not be used. The bytes may hold anything, a telephone number too: grant v_dead_letters.

CREATE TABLE IF NOT EXISTS dead_letters
(
    topic         LowCardinality(String)  COMMENT '原始主题 | raw topic',
    partition     Int32                   COMMENT '原始分区 | partition of the raw record',
    offset        Int64                   COMMENT '原始偏移量 | offset of the raw record'  CODEC(Delta, ZSTD(1)),
    reason        LowCardinality(String)  COMMENT '原因 | why the record cannot be used',
    path          String                  COMMENT '出错位置，$ 表示整条记录 | where in the record, $ for the whole'  CODEC(ZSTD(1)),
    detail        String                  COMMENT '说明（不含个人信息） | what was expected and what was found; shows no personal value'  CODEC(ZSTD(3)),
    payload_b64   String                  COMMENT '原始字节（base64，最多 16 KiB，未脱敏） | the bytes in base64, the first 16 KiB of them, unmasked'  CODEC(ZSTD(3)),
    payload_bytes Int64                   COMMENT '原始字节数 | how many bytes the record really has',
    received_at   DateTime64(3, 'UTC')    COMMENT '到达时间 | when the broker appended the raw record'  CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (topic, partition, offset)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '死信：无法使用的原始记录（含原始字节，限制访问）；分析请用 v_dead_letters | dead letters with their bytes, restricted; analysts read v_dead_letters';
