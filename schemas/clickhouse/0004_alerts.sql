-- Every record of every alert: raises, updates and clears. Times in epoch milliseconds of the message became instants.

CREATE TABLE IF NOT EXISTS alerts
(
    alert_id         String                  COMMENT '告警编号：检测器-版本-网格-起始时间 | detector-version-cell-onset'  CODEC(ZSTD(1)),
    revision         Int32                   COMMENT '修订号，从 0 起 | 0 for the raise, then one more for each record',
    action           LowCardinality(String)  COMMENT '动作：raise 产生、update 更新、clear 解除 | raise, update or clear',
    detector         LowCardinality(String)  COMMENT '检测器名称 | name of the detector',
    detector_version Int32                   COMMENT '检测器版本 | version of the detector',
    category         LowCardinality(String)  COMMENT '事件类别 | what kind of event it is',
    cell             Int64                   COMMENT '网格单元编号 | compute cell',
    lon              Nullable(Float64)       COMMENT '网格中心经度（WGS-84） | longitude of the centre of the cell, degrees WGS-84',
    lat              Nullable(Float64)       COMMENT '网格中心纬度（WGS-84） | latitude of the centre of the cell, degrees WGS-84',
    onset_at         DateTime64(3, 'UTC')    COMMENT '起始时间 | start of the first window that led to the raise'  CODEC(Delta, ZSTD(1)),
    window_start_at  DateTime64(3, 'UTC')    COMMENT '判定窗口起点（含） | start of the judged window, included'  CODEC(Delta, ZSTD(1)),
    window_end_at    DateTime64(3, 'UTC')    COMMENT '判定窗口终点（不含） | end of the judged window, excluded'  CODEC(Delta, ZSTD(1)),
    severity         UInt8                   COMMENT '严重程度：1 一般 2 较大 3 重大 4 特别重大 | 1 minor to 4 extreme',
    confidence       Float64                 COMMENT '置信度，0 到 1 | how sure the detector is, 0 to 1',
    reason           LowCardinality(String)  COMMENT '判定原因 | which of the reasons of the detector applies',
    values           Map(String, Nullable(Float64)) COMMENT '特征取值，空值表示无数据 | feature values at the judgement; null where there was no data',
    thresholds       Map(String, Float64)    COMMENT '阈值 | what the values were held against',
    evidence         Array(String)           COMMENT '证据：主题:分区:偏移量 | raw records behind it as topic:partition:offset'  CODEC(ZSTD(3)),
    sentence_zh      String                  COMMENT '一句话说明（中文，已脱敏） | one Chinese sentence, masked'  CODEC(ZSTD(3)),
    sentence_en      String                  COMMENT '一句话说明（英文，已脱敏） | one English sentence, masked'  CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(onset_at)
ORDER BY (detector, onset_at, alert_id, revision)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '告警记录；分析请用 v_alerts 和 v_alert_history | alert records; analysts read v_alerts and v_alert_history';
