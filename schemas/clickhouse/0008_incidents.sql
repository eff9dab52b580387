-- The closed loop: every change of every incident, every notification, every action that could be read.
--
-- An incident stays in the month in which it was opened, so that all its changes lie together. `payload` is the record
-- as it was written: the chain of hashes is over its fields, also over those that a later version may add.
-- Reason and result of an action are masked here; as they were given they are in personal_fields (topic actions).

CREATE TABLE IF NOT EXISTS incidents
(
    incident_id        String                                         COMMENT '事件编号：日期-首因摘要 | local date and a digest of the record that opened it'  CODEC(ZSTD(1)),
    revision           Int32                                          COMMENT '修订号，从 0 起 | 0 for the first record, then one more for each',
    state              LowCardinality(String)                         COMMENT '状态 | where the incident is now',
    previous_state     LowCardinality(Nullable(String))               COMMENT '变化前状态 | where it was before; null in the first record',
    action             LowCardinality(String)                         COMMENT '动作 | what made the change',
    actor              String                                         COMMENT '操作人；系统规则为 system:规则-版本 | who made it; a rule of the system is system:name-version'  CODEC(ZSTD(1)),
    role               LowCardinality(String)                         COMMENT '角色 | in which capacity',
    department         LowCardinality(Nullable(String))               COMMENT '操作人所属单位 | department of the actor',
    at                 DateTime64(3, 'UTC')                           COMMENT '生效时间，同一事件内不倒退 | when it took effect; never goes back within an incident'  CODEC(Delta, ZSTD(1)),
    reason             Nullable(String)                               COMMENT '原因，已脱敏 | why, masked'  CODEC(ZSTD(3)),
    result             Nullable(String)                               COMMENT '处置结果，已脱敏 | what came of the handling, masked'  CODEC(ZSTD(3)),
    type               LowCardinality(String)                         COMMENT '事件类型 | what kind of incident, see incident_types.yaml',
    category           LowCardinality(String)                         COMMENT '首因类别 | category of the alert or ticket that opened it',
    index_category     LowCardinality(String)                         COMMENT '城市运行指数大类 | which category of the city operation index',
    severity           UInt8                                          COMMENT '严重程度，4 最重 | 1 minor to 4 extreme',
    cell               Int64                                          COMMENT '网格单元编号；-1 为无法定位 | the compute cell; -1: unplaced',
    lon                Nullable(Float64)                              COMMENT '经度；无法定位时为空 | WGS-84; null when unplaced',
    lat                Nullable(Float64)                              COMMENT '纬度；无法定位时为空 | WGS-84; null when unplaced',
    jurisdiction       LowCardinality(Nullable(String))               COMMENT '管辖区划代码 | code of the finest jurisdiction it lies in',
    district           LowCardinality(Nullable(String))               COMMENT '所属区代码 | code of the district it lies in',
    unit               Nullable(String)                               COMMENT '单元网格代码 | code of the unit grid it lies in'  CODEC(ZSTD(1)),
    place_zh           String                                         COMMENT '地点（中文） | the place in Chinese; empty when it is not known'  CODEC(ZSTD(1)),
    place_en           String                                         COMMENT '地点（英文） | the place in English; empty when it is not known'  CODEC(ZSTD(1)),
    opened_at          DateTime64(3, 'UTC')                           COMMENT '发现时间 | event time of the record that opened it'  CODEC(Delta, ZSTD(1)),
    lead               LowCardinality(Nullable(String))               COMMENT '牵头单位 | the department that has it; null: it lies at the duty desk',
    lead_level         Nullable(UInt8)                                COMMENT '牵头单位层级：1 市 2 区 3 街镇 4 居村 5 单元 | level of the lead: 1 city to 5 unit',
    assisting          Array(LowCardinality(String))                  COMMENT '协办单位 | departments that help',
    alert_ids          Array(String)                                  COMMENT '告警编号 | its alerts, in the order in which they joined'  CODEC(ZSTD(1)),
    standing_alerts    Array(String)                                  COMMENT '未解除的告警 | those of them that have not cleared'  CODEC(ZSTD(1)),
    ticket_ids         Array(String)                                  COMMENT '工单编号 | its tickets, in the order in which they joined'  CODEC(ZSTD(1)),
    tickets            Array(Tuple(ticket_id String, category String, event_at DateTime64(3, 'UTC'), due_at Nullable(DateTime64(3, 'UTC')), done_at Nullable(DateTime64(3, 'UTC')), on_time Nullable(Bool))) COMMENT '各工单的期限与结果 | deadline and outcome of each ticket'  CODEC(ZSTD(3)),
    accept_due_at      Nullable(DateTime64(3, 'UTC'))                 COMMENT '应派遣或接单时间 | when somebody must have taken it on; null: not running',
    handle_due_at      Nullable(DateTime64(3, 'UTC'))                 COMMENT '应处置完成时间 | when it must be handled; null: not running',
    verify_due_at      Nullable(DateTime64(3, 'UTC'))                 COMMENT '应核查结案时间 | when it must be closed; null: not running',
    accept_overdue     Bool                                           COMMENT '接单超时 | it was not taken on in time',
    handle_overdue     Bool                                           COMMENT '处置超时 | it was not handled in time',
    verify_overdue     Bool                                           COMMENT '核查超时 | it was not verified and closed in time',
    escalated_to       LowCardinality(Nullable(String))               COMMENT '已上报至 | the department above that was told; null: none',
    escalated_level    Nullable(UInt8)                                COMMENT '上报层级 | level of that department: 1 city to 5 unit',
    whistles           Array(Tuple(department String, called_at DateTime64(3, 'UTC'), due_at DateTime64(3, 'UTC'), responded_at Nullable(DateTime64(3, 'UTC')), overdue Bool)) COMMENT '吹哨召集 | departments called together, and their answers'  CODEC(ZSTD(1)),
    hand_overs         Int32                                          COMMENT '退单与移交次数 | how often it was returned or transferred',
    reopenings         Int32                                          COMMENT '重开与返工次数 | how often it was reopened or failed verification',
    reminders          Int32                                          COMMENT '催办次数 | how often somebody was reminded',
    handled_by         Nullable(String)                               COMMENT '处置人 | who finished it; may not verify it'  CODEC(ZSTD(1)),
    handled_at         Nullable(DateTime64(3, 'UTC'))                 COMMENT '处置完成时间 | when it was finished; null while it is not',
    verified_by        Nullable(String)                               COMMENT '核查人 | who verified it'  CODEC(ZSTD(1)),
    suspended_until_at Nullable(DateTime64(3, 'UTC'))                 COMMENT '挂起至 | until when it is suspended; null: not, or open',
    merged_into        Nullable(String)                               COMMENT '并入的事件 | the incident that took it in'  CODEC(ZSTD(1)),
    action_id          Nullable(String)                               COMMENT '操作编号 | the action that made the change; null for the loop itself'  CODEC(ZSTD(1)),
    cause              String                                         COMMENT '起因记录：主题:分区:偏移量 | the record that led to the change'  CODEC(ZSTD(1)),
    sentence_zh        String                                         COMMENT '一句话说明，已脱敏 | one Chinese sentence, masked'  CODEC(ZSTD(3)),
    sentence_en        String                                         COMMENT '英文说明，已脱敏 | one English sentence, masked'  CODEC(ZSTD(3)),
    previous_hash      String                                         COMMENT '上一条的摘要；首条为空 | hash of the record before; empty in the first'  CODEC(NONE),
    hash               String                                         COMMENT '本条摘要（SHA-256，十六进制） | SHA-256 of all other fields as canonical JSON, in hex'  CODEC(NONE),
    payload            String                                         COMMENT '记录原文（JSON），用于核验摘要链 | the record as it was written, for checking the chain of hashes'  CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(opened_at)
ORDER BY (incident_id, revision)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '事件的每次变化；分析请用 v_incidents 和 v_incident_history | every change of every incident; analysts read v_incidents and v_incident_history';

CREATE TABLE IF NOT EXISTS notifications
(
    notification_id String                           COMMENT '通知编号：循环日志偏移量-序号 | offset in the log of the loop and a number: the same however often that is read'  CODEC(ZSTD(1)),
    kind            LowCardinality(String)           COMMENT '通知类别 | why somebody is told',
    to              String                           COMMENT '接收单位或操作人 | id of a department, or the actor of a refused action'  CODEC(ZSTD(1)),
    to_actor        Bool                             COMMENT '接收方是否为操作人 | whether `to` is a person rather than a department',
    incident_id     Nullable(String)                 COMMENT '事件编号 | the incident; null when there is none'  CODEC(ZSTD(1)),
    revision        Nullable(Int32)                  COMMENT '事件修订号 | revision of the incident at that time',
    at              DateTime64(3, 'UTC')             COMMENT '时间 | when, in the time of the log'  CODEC(Delta, ZSTD(1)),
    action_id       Nullable(String)                 COMMENT '操作编号 | the action that is answered'  CODEC(ZSTD(1)),
    refusal         LowCardinality(Nullable(String)) COMMENT '拒绝原因 | why an action was refused',
    legal           Array(LowCardinality(String))    COMMENT '该角色此时可执行的操作 | for a refusal: what this role may do in this state',
    cause           String                           COMMENT '起因记录：主题:分区:偏移量 | the record that led to it'  CODEC(ZSTD(1)),
    sentence_zh     String                           COMMENT '一句话说明，已脱敏 | one Chinese sentence, masked'  CODEC(ZSTD(3)),
    sentence_en     String                           COMMENT '英文说明，已脱敏 | one English sentence, masked'  CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (at, notification_id)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '通知；分析请用 v_notifications | notifications; analysts read v_notifications';

CREATE TABLE IF NOT EXISTS actions
(
    partition         Int32                            COMMENT '所在分区 | partition of the record on topic actions',
    offset            Int64                            COMMENT '偏移量 | offset there'  CODEC(Delta, ZSTD(1)),
    received_at       DateTime64(3, 'UTC')             COMMENT '到达时间 | when the broker appended it'  CODEC(Delta, ZSTD(1)),
    cause             String                           COMMENT '记录位置：主题:分区:偏移量 | place of the record as topic:partition:offset'  CODEC(ZSTD(1)),
    acted_at          Nullable(DateTime64(3, 'UTC'))   COMMENT '操作时间，无法识别为空 | when it was done, null when the time cannot be read',
    action_id         String                           COMMENT '操作编号，重复提交不会重复执行 | the action; sent twice it is done once'  CODEC(ZSTD(1)),
    action            LowCardinality(String)           COMMENT '操作 | what is asked',
    actor             String                           COMMENT '操作人（工号） | who asks: a staff number, not a name'  CODEC(ZSTD(1)),
    role              LowCardinality(String)           COMMENT '角色 | in which capacity',
    incident_id       Nullable(String)                 COMMENT '事件编号；与工单编号二选一 | the incident; this or ticket_id'  CODEC(ZSTD(1)),
    ticket_id         Nullable(String)                 COMMENT '工单编号：其所在事件 | a ticket that the incident holds'  CODEC(ZSTD(1)),
    department        LowCardinality(Nullable(String)) COMMENT '操作人所属单位 | department of the actor',
    reason            Nullable(String)                 COMMENT '原因（已脱敏） | why, masked'  CODEC(ZSTD(3)),
    result            Nullable(String)                 COMMENT '处置结果（已脱敏） | what came of it, masked'  CODEC(ZSTD(3)),
    expected_revision Nullable(Int64)                  COMMENT '所依据的修订号；已有新变化则拒绝 | the revision the actor saw; refused when there is a newer one',
    to_department     LowCardinality(Nullable(String)) COMMENT '派往单位（派遣、移交、吹哨牵头） | who shall have it: for dispatch, transfer, whistle (lead)',
    departments       Array(LowCardinality(String))    COMMENT '吹哨召集的单位 | for whistle: the departments that are called',
    into_incident_id  Nullable(String)                 COMMENT '并入的事件 | for merge: the incident that takes this one in'  CODEC(ZSTD(1)),
    until_at          Nullable(DateTime64(3, 'UTC'))   COMMENT '挂起至，无法识别为空 | for suspend: until when, null when the time cannot be read',
    category          LowCardinality(Nullable(String)) COMMENT '更正后的类型 | for correct: the type of the incident',
    severity          Nullable(UInt8)                  COMMENT '更正后的严重程度 | for correct: 1 minor to 4 extreme',
    lon               Nullable(Float64)                COMMENT '更正后的经度（WGS-84），须与纬度同时给出 | for correct: WGS-84; only together with lat',
    lat               Nullable(Float64)                COMMENT '更正后的纬度（WGS-84），须与经度同时给出 | for correct: WGS-84; only together with lon'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (partition, offset)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '操作；分析请用 v_actions | actions; analysts read v_actions';

CREATE OR REPLACE VIEW v_incident_history
(
    incident_id        String                                         COMMENT '事件编号：日期-首因摘要 | local date and a digest of the record that opened it',
    revision           Int32                                          COMMENT '修订号，从 0 起 | 0 for the first record, then one more for each',
    state              LowCardinality(String)                         COMMENT '状态 | where the incident is now',
    previous_state     LowCardinality(Nullable(String))               COMMENT '变化前状态 | where it was before; null in the first record',
    action             LowCardinality(String)                         COMMENT '动作 | what made the change',
    actor              String                                         COMMENT '操作人；系统规则为 system:规则-版本 | who made it; a rule of the system is system:name-version',
    role               LowCardinality(String)                         COMMENT '角色 | in which capacity',
    department         LowCardinality(Nullable(String))               COMMENT '操作人所属单位 | department of the actor',
    at                 DateTime64(3, 'UTC')                           COMMENT '生效时间，同一事件内不倒退 | when it took effect; never goes back within an incident',
    reason             Nullable(String)                               COMMENT '原因，已脱敏 | why, masked',
    result             Nullable(String)                               COMMENT '处置结果，已脱敏 | what came of the handling, masked',
    type               LowCardinality(String)                         COMMENT '事件类型 | what kind of incident, see incident_types.yaml',
    category           LowCardinality(String)                         COMMENT '首因类别 | category of the alert or ticket that opened it',
    index_category     LowCardinality(String)                         COMMENT '城市运行指数大类 | which category of the city operation index',
    severity           UInt8                                          COMMENT '严重程度，4 最重 | 1 minor to 4 extreme',
    cell               Int64                                          COMMENT '网格单元编号；-1 为无法定位 | the compute cell; -1: unplaced',
    lon                Nullable(Float64)                              COMMENT '经度；无法定位时为空 | WGS-84; null when unplaced',
    lat                Nullable(Float64)                              COMMENT '纬度；无法定位时为空 | WGS-84; null when unplaced',
    jurisdiction       LowCardinality(Nullable(String))               COMMENT '管辖区划代码 | code of the finest jurisdiction it lies in',
    district           LowCardinality(Nullable(String))               COMMENT '所属区代码 | code of the district it lies in',
    unit               Nullable(String)                               COMMENT '单元网格代码 | code of the unit grid it lies in',
    place_zh           String                                         COMMENT '地点（中文） | the place in Chinese; empty when it is not known',
    place_en           String                                         COMMENT '地点（英文） | the place in English; empty when it is not known',
    opened_at          DateTime64(3, 'UTC')                           COMMENT '发现时间 | event time of the record that opened it',
    lead               LowCardinality(Nullable(String))               COMMENT '牵头单位 | the department that has it; null: it lies at the duty desk',
    lead_level         Nullable(UInt8)                                COMMENT '牵头单位层级：1 市 2 区 3 街镇 4 居村 5 单元 | level of the lead: 1 city to 5 unit',
    assisting          Array(LowCardinality(String))                  COMMENT '协办单位 | departments that help',
    alert_ids          Array(String)                                  COMMENT '告警编号 | its alerts, in the order in which they joined',
    standing_alerts    Array(String)                                  COMMENT '未解除的告警 | those of them that have not cleared',
    ticket_ids         Array(String)                                  COMMENT '工单编号 | its tickets, in the order in which they joined',
    tickets            Array(Tuple(ticket_id String, category String, event_at DateTime64(3, 'UTC'), due_at Nullable(DateTime64(3, 'UTC')), done_at Nullable(DateTime64(3, 'UTC')), on_time Nullable(Bool))) COMMENT '各工单的期限与结果 | deadline and outcome of each ticket',
    accept_due_at      Nullable(DateTime64(3, 'UTC'))                 COMMENT '应派遣或接单时间 | when somebody must have taken it on; null: not running',
    handle_due_at      Nullable(DateTime64(3, 'UTC'))                 COMMENT '应处置完成时间 | when it must be handled; null: not running',
    verify_due_at      Nullable(DateTime64(3, 'UTC'))                 COMMENT '应核查结案时间 | when it must be closed; null: not running',
    accept_overdue     Bool                                           COMMENT '接单超时 | it was not taken on in time',
    handle_overdue     Bool                                           COMMENT '处置超时 | it was not handled in time',
    verify_overdue     Bool                                           COMMENT '核查超时 | it was not verified and closed in time',
    escalated_to       LowCardinality(Nullable(String))               COMMENT '已上报至 | the department above that was told; null: none',
    escalated_level    Nullable(UInt8)                                COMMENT '上报层级 | level of that department: 1 city to 5 unit',
    whistles           Array(Tuple(department String, called_at DateTime64(3, 'UTC'), due_at DateTime64(3, 'UTC'), responded_at Nullable(DateTime64(3, 'UTC')), overdue Bool)) COMMENT '吹哨召集 | departments called together, and their answers',
    hand_overs         Int32                                          COMMENT '退单与移交次数 | how often it was returned or transferred',
    reopenings         Int32                                          COMMENT '重开与返工次数 | how often it was reopened or failed verification',
    reminders          Int32                                          COMMENT '催办次数 | how often somebody was reminded',
    handled_by         Nullable(String)                               COMMENT '处置人 | who finished it; may not verify it',
    handled_at         Nullable(DateTime64(3, 'UTC'))                 COMMENT '处置完成时间 | when it was finished; null while it is not',
    verified_by        Nullable(String)                               COMMENT '核查人 | who verified it',
    suspended_until_at Nullable(DateTime64(3, 'UTC'))                 COMMENT '挂起至 | until when it is suspended; null: not, or open',
    merged_into        Nullable(String)                               COMMENT '并入的事件 | the incident that took it in',
    action_id          Nullable(String)                               COMMENT '操作编号 | the action that made the change; null for the loop itself',
    cause              String                                         COMMENT '起因记录：主题:分区:偏移量 | the record that led to the change',
    sentence_zh        String                                         COMMENT '一句话说明，已脱敏 | one Chinese sentence, masked',
    sentence_en        String                                         COMMENT '英文说明，已脱敏 | one English sentence, masked',
    previous_hash      String                                         COMMENT '上一条的摘要；首条为空 | hash of the record before; empty in the first',
    hash               String                                         COMMENT '本条摘要（SHA-256，十六进制） | SHA-256 of all other fields as canonical JSON, in hex'
)
AS SELECT
    incident_id,
    revision,
    state,
    previous_state,
    action,
    actor,
    role,
    department,
    at,
    reason,
    result,
    type,
    category,
    index_category,
    severity,
    cell,
    lon,
    lat,
    jurisdiction,
    district,
    unit,
    place_zh,
    place_en,
    opened_at,
    lead,
    lead_level,
    assisting,
    alert_ids,
    standing_alerts,
    ticket_ids,
    tickets,
    accept_due_at,
    handle_due_at,
    verify_due_at,
    accept_overdue,
    handle_overdue,
    verify_overdue,
    escalated_to,
    escalated_level,
    whistles,
    hand_overs,
    reopenings,
    reminders,
    handled_by,
    handled_at,
    verified_by,
    suspended_until_at,
    merged_into,
    action_id,
    cause,
    sentence_zh,
    sentence_en,
    previous_hash,
    hash
FROM incidents FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT '事件的每次变化 | every change of every incident';

CREATE OR REPLACE VIEW v_incidents
(
    incident_id        String                                         COMMENT '事件编号：日期-首因摘要 | local date and a digest of the record that opened it',
    revision           Int32                                          COMMENT '修订号，从 0 起 | 0 for the first record, then one more for each',
    state              LowCardinality(String)                         COMMENT '状态 | where the incident is now',
    reason             Nullable(String)                               COMMENT '原因，已脱敏 | why, masked',
    result             Nullable(String)                               COMMENT '处置结果，已脱敏 | what came of the handling, masked',
    type               LowCardinality(String)                         COMMENT '事件类型 | what kind of incident, see incident_types.yaml',
    category           LowCardinality(String)                         COMMENT '首因类别 | category of the alert or ticket that opened it',
    index_category     LowCardinality(String)                         COMMENT '城市运行指数大类 | which category of the city operation index',
    severity           UInt8                                          COMMENT '严重程度，4 最重 | 1 minor to 4 extreme',
    cell               Int64                                          COMMENT '网格单元编号；-1 为无法定位 | the compute cell; -1: unplaced',
    lon                Nullable(Float64)                              COMMENT '经度；无法定位时为空 | WGS-84; null when unplaced',
    lat                Nullable(Float64)                              COMMENT '纬度；无法定位时为空 | WGS-84; null when unplaced',
    jurisdiction       LowCardinality(Nullable(String))               COMMENT '管辖区划代码 | code of the finest jurisdiction it lies in',
    district           LowCardinality(Nullable(String))               COMMENT '所属区代码 | code of the district it lies in',
    unit               Nullable(String)                               COMMENT '单元网格代码 | code of the unit grid it lies in',
    place_zh           String                                         COMMENT '地点（中文） | the place in Chinese; empty when it is not known',
    place_en           String                                         COMMENT '地点（英文） | the place in English; empty when it is not known',
    opened_at          DateTime64(3, 'UTC')                           COMMENT '发现时间 | event time of the record that opened it',
    lead               LowCardinality(Nullable(String))               COMMENT '牵头单位 | the department that has it; null: it lies at the duty desk',
    lead_level         Nullable(UInt8)                                COMMENT '牵头单位层级：1 市 2 区 3 街镇 4 居村 5 单元 | level of the lead: 1 city to 5 unit',
    assisting          Array(LowCardinality(String))                  COMMENT '协办单位 | departments that help',
    alert_ids          Array(String)                                  COMMENT '告警编号 | its alerts, in the order in which they joined',
    standing_alerts    Array(String)                                  COMMENT '未解除的告警 | those of them that have not cleared',
    ticket_ids         Array(String)                                  COMMENT '工单编号 | its tickets, in the order in which they joined',
    tickets            Array(Tuple(ticket_id String, category String, event_at DateTime64(3, 'UTC'), due_at Nullable(DateTime64(3, 'UTC')), done_at Nullable(DateTime64(3, 'UTC')), on_time Nullable(Bool))) COMMENT '各工单的期限与结果 | deadline and outcome of each ticket',
    accept_due_at      Nullable(DateTime64(3, 'UTC'))                 COMMENT '应派遣或接单时间 | when somebody must have taken it on; null: not running',
    handle_due_at      Nullable(DateTime64(3, 'UTC'))                 COMMENT '应处置完成时间 | when it must be handled; null: not running',
    verify_due_at      Nullable(DateTime64(3, 'UTC'))                 COMMENT '应核查结案时间 | when it must be closed; null: not running',
    accept_overdue     Bool                                           COMMENT '接单超时 | it was not taken on in time',
    handle_overdue     Bool                                           COMMENT '处置超时 | it was not handled in time',
    verify_overdue     Bool                                           COMMENT '核查超时 | it was not verified and closed in time',
    escalated_to       LowCardinality(Nullable(String))               COMMENT '已上报至 | the department above that was told; null: none',
    escalated_level    Nullable(UInt8)                                COMMENT '上报层级 | level of that department: 1 city to 5 unit',
    whistles           Array(Tuple(department String, called_at DateTime64(3, 'UTC'), due_at DateTime64(3, 'UTC'), responded_at Nullable(DateTime64(3, 'UTC')), overdue Bool)) COMMENT '吹哨召集 | departments called together, and their answers',
    hand_overs         Int32                                          COMMENT '退单与移交次数 | how often it was returned or transferred',
    reopenings         Int32                                          COMMENT '重开与返工次数 | how often it was reopened or failed verification',
    reminders          Int32                                          COMMENT '催办次数 | how often somebody was reminded',
    handled_by         Nullable(String)                               COMMENT '处置人 | who finished it; may not verify it',
    handled_at         Nullable(DateTime64(3, 'UTC'))                 COMMENT '处置完成时间 | when it was finished; null while it is not',
    verified_by        Nullable(String)                               COMMENT '核查人 | who verified it',
    suspended_until_at Nullable(DateTime64(3, 'UTC'))                 COMMENT '挂起至 | until when it is suspended; null: not, or open',
    merged_into        Nullable(String)                               COMMENT '并入的事件 | the incident that took it in',
    sentence_zh        String                                         COMMENT '一句话说明，已脱敏 | one Chinese sentence, masked',
    sentence_en        String                                         COMMENT '英文说明，已脱敏 | one English sentence, masked',
    changed_at         DateTime64(3, 'UTC')                           COMMENT '最近一次变化时间 | when it changed last',
    dispatched_at      Nullable(DateTime64(3, 'UTC'))                 COMMENT '首次派遣时间 | when it was dispatched first',
    accepted_at        Nullable(DateTime64(3, 'UTC'))                 COMMENT '首次接单时间 | when it was accepted first',
    finished_at        Nullable(DateTime64(3, 'UTC'))                 COMMENT '首次处置完成时间 | when it was handled first',
    closed_at          Nullable(DateTime64(3, 'UTC'))                 COMMENT '结案时间，未结案为空 | when it was closed, null while it is not',
    dispatch_s         Nullable(Float64)                              COMMENT '发现至首次派遣（秒） | seconds from its opening to the first dispatch',
    accept_s           Nullable(Float64)                              COMMENT '首次派遣至首次接单（秒） | seconds from the first dispatch to the first acceptance',
    handle_s           Nullable(Float64)                              COMMENT '首次接单至首次处置完成（秒） | seconds from the first acceptance to the first completion',
    close_s            Nullable(Float64)                              COMMENT '发现至结案（秒） | seconds from its opening to its closing',
    overdue_count      UInt64                                         COMMENT '超时次数 | how often a deadline passed',
    overdue            Bool                                           COMMENT '目前有环节超时 | a stage is past its deadline now',
    on_time            Nullable(Bool)                                 COMMENT '按时结案；未到期且未结案为空 | closed with no deadline passed; null while it is open and none has passed'
)
AS SELECT
    incident_id,
    max(incidents.revision) AS revision,
    argMax(incidents.state, incidents.revision) AS state,
    tupleElement(argMax(tuple(incidents.reason), incidents.revision), 1) AS reason,
    tupleElement(argMax(tuple(incidents.result), incidents.revision), 1) AS result,
    argMax(incidents.type, incidents.revision) AS type,
    any(incidents.category) AS category,
    argMax(incidents.index_category, incidents.revision) AS index_category,
    argMax(incidents.severity, incidents.revision) AS severity,
    argMax(incidents.cell, incidents.revision) AS cell,
    tupleElement(argMax(tuple(incidents.lon), incidents.revision), 1) AS lon,
    tupleElement(argMax(tuple(incidents.lat), incidents.revision), 1) AS lat,
    tupleElement(argMax(tuple(incidents.jurisdiction), incidents.revision), 1) AS jurisdiction,
    tupleElement(argMax(tuple(incidents.district), incidents.revision), 1) AS district,
    tupleElement(argMax(tuple(incidents.unit), incidents.revision), 1) AS unit,
    argMax(incidents.place_zh, incidents.revision) AS place_zh,
    argMax(incidents.place_en, incidents.revision) AS place_en,
    any(incidents.opened_at) AS opened_at,
    tupleElement(argMax(tuple(incidents.lead), incidents.revision), 1) AS lead,
    tupleElement(argMax(tuple(incidents.lead_level), incidents.revision), 1) AS lead_level,
    argMax(incidents.assisting, incidents.revision) AS assisting,
    argMax(incidents.alert_ids, incidents.revision) AS alert_ids,
    argMax(incidents.standing_alerts, incidents.revision) AS standing_alerts,
    argMax(incidents.ticket_ids, incidents.revision) AS ticket_ids,
    argMax(incidents.tickets, incidents.revision) AS tickets,
    tupleElement(argMax(tuple(incidents.accept_due_at), incidents.revision), 1) AS accept_due_at,
    tupleElement(argMax(tuple(incidents.handle_due_at), incidents.revision), 1) AS handle_due_at,
    tupleElement(argMax(tuple(incidents.verify_due_at), incidents.revision), 1) AS verify_due_at,
    argMax(incidents.accept_overdue, incidents.revision) AS accept_overdue,
    argMax(incidents.handle_overdue, incidents.revision) AS handle_overdue,
    argMax(incidents.verify_overdue, incidents.revision) AS verify_overdue,
    tupleElement(argMax(tuple(incidents.escalated_to), incidents.revision), 1) AS escalated_to,
    tupleElement(argMax(tuple(incidents.escalated_level), incidents.revision), 1) AS escalated_level,
    argMax(incidents.whistles, incidents.revision) AS whistles,
    argMax(incidents.hand_overs, incidents.revision) AS hand_overs,
    argMax(incidents.reopenings, incidents.revision) AS reopenings,
    argMax(incidents.reminders, incidents.revision) AS reminders,
    tupleElement(argMax(tuple(incidents.handled_by), incidents.revision), 1) AS handled_by,
    tupleElement(argMax(tuple(incidents.handled_at), incidents.revision), 1) AS handled_at,
    tupleElement(argMax(tuple(incidents.verified_by), incidents.revision), 1) AS verified_by,
    tupleElement(argMax(tuple(incidents.suspended_until_at), incidents.revision), 1) AS suspended_until_at,
    tupleElement(argMax(tuple(incidents.merged_into), incidents.revision), 1) AS merged_into,
    argMax(incidents.sentence_zh, incidents.revision) AS sentence_zh,
    argMax(incidents.sentence_en, incidents.revision) AS sentence_en,
    max(incidents.at) AS changed_at,
    minOrNullIf(incidents.at, incidents.action = 'dispatch') AS dispatched_at,
    minOrNullIf(incidents.at, incidents.action = 'accept') AS accepted_at,
    minOrNullIf(incidents.at, incidents.action = 'finish') AS finished_at,
    if(state = 'closed', maxOrNullIf(incidents.at, incidents.action = 'close'), NULL) AS closed_at,
    (toUnixTimestamp64Milli(dispatched_at) - toUnixTimestamp64Milli(opened_at)) / 1000 AS dispatch_s,
    (toUnixTimestamp64Milli(accepted_at) - toUnixTimestamp64Milli(dispatched_at)) / 1000 AS accept_s,
    (toUnixTimestamp64Milli(finished_at) - toUnixTimestamp64Milli(accepted_at)) / 1000 AS handle_s,
    (toUnixTimestamp64Milli(closed_at) - toUnixTimestamp64Milli(opened_at)) / 1000 AS close_s,
    uniqExactIf(incidents.revision, incidents.action = 'overdue') AS overdue_count,
    accept_overdue OR handle_overdue OR verify_overdue AS overdue,
    if(overdue_count > 0, false, if(state = 'closed', true, NULL)) AS on_time
FROM incidents
GROUP BY incident_id
COMMENT '每个事件的最新状态与各环节用时 | latest state of every incident, and how long each stage took';

CREATE OR REPLACE VIEW v_notifications
(
    notification_id String                           COMMENT '通知编号：循环日志偏移量-序号 | offset in the log of the loop and a number: the same however often that is read',
    kind            LowCardinality(String)           COMMENT '通知类别 | why somebody is told',
    to              String                           COMMENT '接收单位或操作人 | id of a department, or the actor of a refused action',
    to_actor        Bool                             COMMENT '接收方是否为操作人 | whether `to` is a person rather than a department',
    incident_id     Nullable(String)                 COMMENT '事件编号 | the incident; null when there is none',
    revision        Nullable(Int32)                  COMMENT '事件修订号 | revision of the incident at that time',
    at              DateTime64(3, 'UTC')             COMMENT '时间 | when, in the time of the log',
    action_id       Nullable(String)                 COMMENT '操作编号 | the action that is answered',
    refusal         LowCardinality(Nullable(String)) COMMENT '拒绝原因 | why an action was refused',
    legal           Array(LowCardinality(String))    COMMENT '该角色此时可执行的操作 | for a refusal: what this role may do in this state',
    cause           String                           COMMENT '起因记录：主题:分区:偏移量 | the record that led to it',
    sentence_zh     String                           COMMENT '一句话说明，已脱敏 | one Chinese sentence, masked',
    sentence_en     String                           COMMENT '英文说明，已脱敏 | one English sentence, masked'
)
AS SELECT
    notification_id,
    kind,
    to,
    to_actor,
    incident_id,
    revision,
    at,
    action_id,
    refusal,
    legal,
    cause,
    sentence_zh,
    sentence_en
FROM notifications FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT '通知 | notifications';

CREATE OR REPLACE VIEW v_actions
(
    partition         Int32                            COMMENT '所在分区 | partition of the record on topic actions',
    offset            Int64                            COMMENT '偏移量 | offset there',
    received_at       DateTime64(3, 'UTC')             COMMENT '到达时间 | when the broker appended it',
    cause             String                           COMMENT '记录位置：主题:分区:偏移量 | place of the record as topic:partition:offset',
    acted_at          Nullable(DateTime64(3, 'UTC'))   COMMENT '操作时间，无法识别为空 | when it was done, null when the time cannot be read',
    action_id         String                           COMMENT '操作编号，重复提交不会重复执行 | the action; sent twice it is done once',
    action            LowCardinality(String)           COMMENT '操作 | what is asked',
    actor             String                           COMMENT '操作人（工号） | who asks: a staff number, not a name',
    role              LowCardinality(String)           COMMENT '角色 | in which capacity',
    incident_id       Nullable(String)                 COMMENT '事件编号；与工单编号二选一 | the incident; this or ticket_id',
    ticket_id         Nullable(String)                 COMMENT '工单编号：其所在事件 | a ticket that the incident holds',
    department        LowCardinality(Nullable(String)) COMMENT '操作人所属单位 | department of the actor',
    reason            Nullable(String)                 COMMENT '原因（已脱敏） | why, masked',
    result            Nullable(String)                 COMMENT '处置结果（已脱敏） | what came of it, masked',
    expected_revision Nullable(Int64)                  COMMENT '所依据的修订号；已有新变化则拒绝 | the revision the actor saw; refused when there is a newer one',
    to_department     LowCardinality(Nullable(String)) COMMENT '派往单位（派遣、移交、吹哨牵头） | who shall have it: for dispatch, transfer, whistle (lead)',
    departments       Array(LowCardinality(String))    COMMENT '吹哨召集的单位 | for whistle: the departments that are called',
    into_incident_id  Nullable(String)                 COMMENT '并入的事件 | for merge: the incident that takes this one in',
    until_at          Nullable(DateTime64(3, 'UTC'))   COMMENT '挂起至，无法识别为空 | for suspend: until when, null when the time cannot be read',
    category          LowCardinality(Nullable(String)) COMMENT '更正后的类型 | for correct: the type of the incident',
    severity          Nullable(UInt8)                  COMMENT '更正后的严重程度 | for correct: 1 minor to 4 extreme',
    lon               Nullable(Float64)                COMMENT '更正后的经度（WGS-84），须与纬度同时给出 | for correct: WGS-84; only together with lat',
    lat               Nullable(Float64)                COMMENT '更正后的纬度（WGS-84），须与经度同时给出 | for correct: WGS-84; only together with lon',
    outcome           String                           COMMENT '处理结果：accepted 已执行、repeated 重复、拒绝原因，空为尚未答复 | accepted, repeated, or why it was refused; empty: not answered yet'
)
AS SELECT
    acted.partition AS partition,
    acted.offset AS offset,
    acted.received_at AS received_at,
    acted.cause AS cause,
    acted.acted_at AS acted_at,
    acted.action_id AS action_id,
    acted.action AS action,
    acted.actor AS actor,
    acted.role AS role,
    acted.incident_id AS incident_id,
    acted.ticket_id AS ticket_id,
    acted.department AS department,
    acted.reason AS reason,
    acted.result AS result,
    acted.expected_revision AS expected_revision,
    acted.to_department AS to_department,
    acted.departments AS departments,
    acted.into_incident_id AS into_incident_id,
    acted.until_at AS until_at,
    acted.category AS category,
    acted.severity AS severity,
    acted.lon AS lon,
    acted.lat AS lat,
    multiIf(told.refusal != '', told.refusal, told.repeated, 'repeated', done.action_id != '', 'accepted', '') AS outcome
FROM
(
    SELECT * FROM actions FINAL SETTINGS do_not_merge_across_partitions_select_final = 1
) AS acted
LEFT JOIN
(
    SELECT cause, max(ifNull(refusal, '')) AS refusal, max(kind = 'repeated') AS repeated
    FROM notifications
    WHERE action_id IS NOT NULL AND to_actor
    GROUP BY cause
) AS told ON told.cause = acted.cause
LEFT JOIN
(
    SELECT DISTINCT assumeNotNull(action_id) AS action_id, cause
    FROM incidents
    WHERE action_id IS NOT NULL
) AS done ON done.cause = acted.cause
COMMENT '操作及其处理结果（已脱敏） | actions and what came of them, masked';

CREATE OR REPLACE VIEW v_ticket_outcomes
(
    ticket_id   String                           COMMENT '工单编号 | the ticket',
    incident_id String                           COMMENT '所在事件 | the incident that holds it',
    category    String                           COMMENT '类别 | what it is about',
    event_at    DateTime64(3, 'UTC')             COMMENT '来电时间 | when the citizen told it',
    due_at      Nullable(DateTime64(3, 'UTC'))   COMMENT '办理期限，无期限为空 | its deadline, null when it has none',
    done_at     Nullable(DateTime64(3, 'UTC'))   COMMENT '办结时间，未办结为空 | when it was done, null while it is not',
    on_time     Nullable(Bool)                   COMMENT '是否按时，未到期且未办结为空 | whether it was done in time; null while it is open and not past its deadline',
    state       LowCardinality(String)           COMMENT '所在事件状态 | where its incident is',
    district    LowCardinality(Nullable(String)) COMMENT '所属区代码 | code of the district',
    lead        LowCardinality(Nullable(String)) COMMENT '牵头单位 | the department that has it',
    changed_at  DateTime64(3, 'UTC')             COMMENT '所在事件最近一次变化时间 | when its incident changed last'
)
AS SELECT
    tupleElement(ticket, 'ticket_id') AS ticket_id,
    incident_id,
    tupleElement(ticket, 'category') AS category,
    tupleElement(ticket, 'event_at') AS event_at,
    tupleElement(ticket, 'due_at') AS due_at,
    tupleElement(ticket, 'done_at') AS done_at,
    tupleElement(ticket, 'on_time') AS on_time,
    state,
    district,
    lead,
    changed_at
FROM v_incidents
ARRAY JOIN tickets AS ticket
ORDER BY ticket_id, state = 'merged', changed_at DESC
LIMIT 1 BY ticket_id
COMMENT '每张工单的期限与结果；并入他案的工单算在他案 | deadline and outcome of every ticket; one that was merged counts where it went';
