-- Where a department answers: the jurisdiction of observations, tickets and alerts; places found by address; promises.
--
-- Rows from before have no jurisdiction (null). The views get their new columns at the end.

ALTER TABLE observations
    ADD COLUMN IF NOT EXISTS jurisdiction LowCardinality(Nullable(String)) COMMENT '事发时最小辖区的代码，辖区之外为空 | code of the smallest jurisdiction there at the event time; null outside every one',
    COMMENT COLUMN flags '标志位 | bits: 1 late, 4 out of range, 8 unit mismatch, 16 place from register, 32 datum converted, 64 unknown kind, 128 unplaced, 256 place from address';

ALTER TABLE tickets
    ADD COLUMN IF NOT EXISTS jurisdiction LowCardinality(Nullable(String)) COMMENT '事发时最小辖区的代码，辖区之外为空 | code of the smallest jurisdiction there at the event time; null outside every one',
    ADD COLUMN IF NOT EXISTS place_confidence Nullable(Float32) COMMENT '地址解析置信度，非解析所得为空 | how sure the address library was of the place, null when it was not asked',
    ADD COLUMN IF NOT EXISTS due_at Nullable(DateTime64(3, 'UTC')) COMMENT '承诺办结时间，未承诺为空 | when the hotline promised it would be done, null when it did not';

ALTER TABLE alerts
    ADD COLUMN IF NOT EXISTS jurisdiction LowCardinality(Nullable(String)) COMMENT '起始时最小辖区的代码，辖区之外为空 | code of the smallest jurisdiction there at the onset; null outside every one',
    ADD COLUMN IF NOT EXISTS unit Nullable(String) COMMENT '单元网格编号（15 位） | 15-digit code of the unit grid cell' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS place_zh Nullable(String) COMMENT '辖区名称 | name of the jurisdiction, Chinese' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS place_en Nullable(String) COMMENT '辖区英文名称 | name of the jurisdiction, English' CODEC(ZSTD(1));

CREATE OR REPLACE VIEW v_observations
(
    event_at              DateTime64(3, 'UTC')              COMMENT '事件时间 | when it happened',
    received_at           DateTime64(3, 'UTC')              COMMENT '到达时间 | when the broker appended the raw record',
    source                LowCardinality(String)            COMMENT '来源 | readings, camera-events or tickets',
    partition             Int32                             COMMENT '原始分区 | partition of the raw record',
    offset                Int64                             COMMENT '原始偏移量 | offset of the raw record',
    kind                  LowCardinality(String)            COMMENT '指标、事件或类别 | metric, event or category',
    entity                String                            COMMENT '设备、摄像头或工单编号 | device, camera or ticket',
    value                 Float64                           COMMENT '数值 | value measured; count of a camera event; 1 for a ticket',
    unit                  LowCardinality(Nullable(String))  COMMENT '单位 | unit as the record gave it',
    confidence            Float32                           COMMENT '置信度，0 到 1 | 0 to 1',
    quality               UInt8                             COMMENT '质量：0 好，1 可疑，2 坏 | 0 good, 1 suspect, 2 bad',
    cell                  Int64                             COMMENT '网格单元编号，-1 表示无法定位 | compute cell, -1 when it could not be placed',
    lon                   Nullable(Float64)                 COMMENT '经度（度，WGS-84） | longitude, degrees WGS-84',
    lat                   Nullable(Float64)                 COMMENT '纬度（度，WGS-84） | latitude, degrees WGS-84',
    device_type           LowCardinality(Nullable(String))  COMMENT '设备类型 | device type as the record gave it',
    late                  Bool                              COMMENT '迟到，未参与研判 | behind the watermark: not joined',
    out_of_range          Bool                              COMMENT '超出该指标的有效范围 | outside the valid range of its kind',
    unit_mismatch         Bool                              COMMENT '单位与登记不符 | in another unit than its kind has',
    place_from_register   Bool                              COMMENT '位置取自设备登记 | place taken from the device register',
    datum_converted       Bool                              COMMENT '坐标系已转换 | coordinates were converted to WGS-84',
    unknown_kind          Bool                              COMMENT '未登记的类型 | kind that the registry does not know',
    track_id              Nullable(String)                  COMMENT '跟踪编号（摄像头） | tracked object of a camera event',
    bbox                  Array(Float64)                    COMMENT '目标框 [x1, y1, x2, y2]（摄像头），无则为空 | box of the object of a camera event, empty for none',
    jurisdiction          LowCardinality(Nullable(String))  COMMENT '事发时最小辖区的代码，辖区之外为空 | code of the smallest jurisdiction there at the event time; null outside every one',
    place_from_address    Bool                              COMMENT '位置取自地址库 | place taken from the address library'
)
AS SELECT
    event_at,
    received_at,
    source,
    partition,
    offset,
    kind,
    entity,
    value,
    unit,
    confidence,
    quality,
    cell,
    if(lon_e7 = -2147483648, NULL, lon_e7 / 1e7) AS lon,
    if(lat_e7 = -2147483648, NULL, lat_e7 / 1e7) AS lat,
    device_type,
    bitTest(flags, 0) AS late,
    bitTest(flags, 2) AS out_of_range,
    bitTest(flags, 3) AS unit_mismatch,
    bitTest(flags, 4) AS place_from_register,
    bitTest(flags, 5) AS datum_converted,
    bitTest(flags, 6) AS unknown_kind,
    nullIf(trim(BOTH '"' FROM JSONExtractRaw(ifNull(extra, ''), 'track_id')), '') AS track_id,
    JSONExtract(ifNull(extra, ''), 'bbox', 'Array(Float64)') AS bbox,
    jurisdiction,
    bitTest(flags, 8) AS place_from_address
FROM observations FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT '观测记录，无个人信息 | observations, without personal fields';

CREATE OR REPLACE VIEW v_alert_history
(
    alert_id         String                           COMMENT '告警编号 | the alert',
    revision         Int32                            COMMENT '修订号，从 0 起 | 0 for the raise, then one more for each record',
    action           LowCardinality(String)           COMMENT '动作 | raise, update or clear',
    detector         LowCardinality(String)           COMMENT '检测器名称 | name of the detector',
    detector_version Int32                            COMMENT '检测器版本 | version of the detector',
    category         LowCardinality(String)           COMMENT '事件类别 | what kind of event it is',
    cell             Int64                            COMMENT '网格单元编号 | compute cell',
    lon              Nullable(Float64)                COMMENT '网格中心经度（度，WGS-84） | longitude of the centre of the cell',
    lat              Nullable(Float64)                COMMENT '网格中心纬度（度，WGS-84） | latitude of the centre of the cell',
    onset_at         DateTime64(3, 'UTC')             COMMENT '起始时间 | start of the first window that led to the raise',
    window_start_at  DateTime64(3, 'UTC')             COMMENT '判定窗口起点（含） | start of the judged window, included',
    window_end_at    DateTime64(3, 'UTC')             COMMENT '判定窗口终点（不含） | end of the judged window, excluded',
    severity         UInt8                            COMMENT '严重程度：1 一般 2 较大 3 重大 4 特别重大 | 1 minor to 4 extreme',
    confidence       Float64                          COMMENT '置信度 | how sure the detector is, 0 to 1',
    reason           LowCardinality(String)           COMMENT '判定原因 | reason of the detector',
    values           Map(String, Nullable(Float64))   COMMENT '特征取值 | feature values at the judgement',
    thresholds       Map(String, Float64)             COMMENT '阈值 | what the values were held against',
    evidence         Array(String)                    COMMENT '证据：主题:分区:偏移量 | raw records behind it as topic:partition:offset',
    sentence_zh      String                           COMMENT '一句话说明（中文） | one Chinese sentence',
    sentence_en      String                           COMMENT '一句话说明（英文） | one English sentence',
    jurisdiction     LowCardinality(Nullable(String)) COMMENT '起始时最小辖区的代码，辖区之外为空 | code of the smallest jurisdiction there at the onset; null outside every one',
    unit             Nullable(String)                 COMMENT '单元网格编号（15 位） | 15-digit code of the unit grid cell',
    place_zh         Nullable(String)                 COMMENT '辖区名称 | name of the jurisdiction, Chinese',
    place_en         Nullable(String)                 COMMENT '辖区英文名称 | name of the jurisdiction, English'
)
AS SELECT
    alert_id, revision, action, detector, detector_version, category, cell, lon, lat, onset_at, window_start_at,
    window_end_at, severity, confidence, reason, values, thresholds, evidence, sentence_zh, sentence_en,
    jurisdiction, unit, place_zh, place_en
FROM alerts FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT '告警的每次产生、更新、解除 | every raise, update and clear of every alert';

CREATE OR REPLACE VIEW v_alerts
(
    alert_id         String                           COMMENT '告警编号 | the alert',
    status           LowCardinality(String)           COMMENT '状态：active 未解除、cleared 已解除 | active or cleared',
    detector         LowCardinality(String)           COMMENT '检测器名称 | name of the detector',
    detector_version Int32                            COMMENT '检测器版本 | version of the detector',
    category         LowCardinality(String)           COMMENT '事件类别 | what kind of event it is',
    cell             Int64                            COMMENT '网格单元编号 | compute cell',
    lon              Nullable(Float64)                COMMENT '网格中心经度（度，WGS-84） | longitude of the centre of the cell',
    lat              Nullable(Float64)                COMMENT '网格中心纬度（度，WGS-84） | latitude of the centre of the cell',
    onset_at         DateTime64(3, 'UTC')             COMMENT '起始时间 | start of the first window that led to the raise',
    cleared_at       Nullable(DateTime64(3, 'UTC'))   COMMENT '解除时间（判定窗口终点），未解除为空 | end of the window that cleared it, null while active',
    severity         UInt8                            COMMENT '最近一次判定的严重程度 | severity of the latest record',
    worst_severity   UInt8                            COMMENT '期间最高严重程度 | worst severity so far',
    confidence       Float64                          COMMENT '最近一次判定的置信度 | confidence of the latest record',
    reason           LowCardinality(String)           COMMENT '最近一次判定的原因 | reason of the latest record',
    values           Map(String, Nullable(Float64))   COMMENT '最近一次判定的特征取值 | feature values of the latest record',
    thresholds       Map(String, Float64)             COMMENT '最近一次判定的阈值 | thresholds of the latest record',
    evidence         Array(String)                    COMMENT '最近一次判定的证据 | evidence of the latest record',
    sentence_zh      String                           COMMENT '最近一次判定的说明（中文） | Chinese sentence of the latest record',
    sentence_en      String                           COMMENT '最近一次判定的说明（英文） | English sentence of the latest record',
    revision         Int32                            COMMENT '最近一次的修订号 | revision of the latest record',
    changed_at       DateTime64(3, 'UTC')             COMMENT '最近一次判定窗口的终点 | end of the window of the latest record',
    jurisdiction     LowCardinality(Nullable(String)) COMMENT '起始时最小辖区的代码，辖区之外为空 | code of the smallest jurisdiction there at the onset; null outside every one',
    unit             Nullable(String)                 COMMENT '单元网格编号（15 位） | 15-digit code of the unit grid cell',
    place_zh         Nullable(String)                 COMMENT '辖区名称 | name of the jurisdiction, Chinese',
    place_en         Nullable(String)                 COMMENT '辖区英文名称 | name of the jurisdiction, English'
)
AS SELECT
    alert_id,
    if(argMax(action, alerts.revision) = 'clear', 'cleared', 'active') AS status,
    any(alerts.detector) AS detector,
    any(alerts.detector_version) AS detector_version,
    any(alerts.category) AS category,
    any(alerts.cell) AS cell,
    any(alerts.lon) AS lon,
    any(alerts.lat) AS lat,
    any(alerts.onset_at) AS onset_at,
    if(status = 'cleared', argMax(alerts.window_end_at, alerts.revision), NULL) AS cleared_at,
    argMax(alerts.severity, alerts.revision) AS severity,
    max(alerts.severity) AS worst_severity,
    argMax(alerts.confidence, alerts.revision) AS confidence,
    argMax(alerts.reason, alerts.revision) AS reason,
    argMax(alerts.values, alerts.revision) AS values,
    argMax(alerts.thresholds, alerts.revision) AS thresholds,
    argMax(alerts.evidence, alerts.revision) AS evidence,
    argMax(alerts.sentence_zh, alerts.revision) AS sentence_zh,
    argMax(alerts.sentence_en, alerts.revision) AS sentence_en,
    max(alerts.revision) AS revision,
    argMax(alerts.window_end_at, alerts.revision) AS changed_at,
    any(alerts.jurisdiction) AS jurisdiction,
    any(alerts.unit) AS unit,
    any(alerts.place_zh) AS place_zh,
    any(alerts.place_en) AS place_en
FROM alerts
GROUP BY alert_id
COMMENT '每个告警的最新状态 | latest state of every alert';

CREATE OR REPLACE VIEW v_tickets
(
    event_at         DateTime64(3, 'UTC')             COMMENT '受理时间 | when the ticket was taken',
    received_at      DateTime64(3, 'UTC')             COMMENT '到达时间 | when the broker appended the raw record',
    partition        Int32                            COMMENT '原始分区 | partition of the raw record',
    offset           Int64                            COMMENT '原始偏移量 | offset of the raw record',
    ticket_id        String                           COMMENT '工单编号 | the ticket',
    category         LowCardinality(String)           COMMENT '类别 | what it is about',
    urgency          LowCardinality(String)           COMMENT '紧急程度 | normal, urgent or critical',
    text             String                           COMMENT '诉求内容（已脱敏） | what was said, masked',
    address          Nullable(String)                 COMMENT '地址（已脱敏） | the place in words, masked',
    channel          LowCardinality(Nullable(String)) COMMENT '受理渠道 | how it came in',
    parent_ticket_id Nullable(String)                 COMMENT '父工单编号 | the ticket that this one repeats or belongs to',
    cell             Int64                            COMMENT '网格单元编号，-1 表示无法定位 | compute cell, -1 when it could not be placed',
    lon              Nullable(Float64)                COMMENT '经度（度，WGS-84） | longitude, degrees WGS-84',
    lat              Nullable(Float64)                COMMENT '纬度（度，WGS-84） | latitude, degrees WGS-84',
    jurisdiction     LowCardinality(Nullable(String)) COMMENT '事发时最小辖区的代码，辖区之外为空 | code of the smallest jurisdiction there at the event time; null outside every one',
    place_from_address Bool                           COMMENT '位置取自地址库 | place taken from the address library',
    place_confidence Nullable(Float32)                COMMENT '地址解析置信度，非解析所得为空 | how sure the address library was of the place, null when it was not asked',
    due_at           Nullable(DateTime64(3, 'UTC'))   COMMENT '承诺办结时间，未承诺为空 | when the hotline promised it would be done, null when it did not'
)
AS SELECT
    event_at,
    received_at,
    partition,
    offset,
    ticket_id,
    category,
    urgency,
    text_masked AS text,
    address_masked AS address,
    channel,
    parent_ticket_id,
    cell,
    if(lon_e7 = -2147483648, NULL, lon_e7 / 1e7) AS lon,
    if(lat_e7 = -2147483648, NULL, lat_e7 / 1e7) AS lat,
    jurisdiction,
    bitTest(flags, 8) AS place_from_address,
    place_confidence,
    due_at
FROM tickets FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT '热线工单（已脱敏） | hotline tickets, masked';
