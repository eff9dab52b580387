-- The city operation index (城市运行指数), first form: eight categories per district and hour, from a versioned table of
-- weights, each explained down to its indicators. It reads hourly roll-ups, never single observations.
--
-- Reference tables hold what `tongguan migrate` read from the city's folder. Each load is one block with a time of its own
-- and the views read the newest, so a load is there whole or not at all; older ones say what was in force before.

CREATE TABLE IF NOT EXISTS jurisdictions
(
    loaded_at  DateTime64(3, 'UTC')           COMMENT '载入时间 | when this load was made; the newest counts',
    code       String                         COMMENT '区划代码 | code',
    name_zh    String                         COMMENT '名称 | name in Chinese',
    name_en    Nullable(String)               COMMENT '英文名称 | name in English',
    level      LowCardinality(String)         COMMENT '层级 | city, district, subdistrict, community or unit',
    parent     Nullable(String)               COMMENT '上级代码 | code of the one above',
    district   Nullable(String)               COMMENT '所属区代码 | code of the district it belongs to; of a city without districts, the city',
    valid_from Nullable(DateTime64(3, 'UTC')) COMMENT '生效时间 | from when it is valid, null for always',
    valid_to   Nullable(DateTime64(3, 'UTC')) COMMENT '失效时间 | until when, excluded, null for open',
    population Nullable(UInt32)               COMMENT '常住人口 | inhabitants, null when the city folder does not say'
)
ENGINE = ReplacingMergeTree
ORDER BY (loaded_at, code, ifNull(valid_from, toDateTime64(0, 3, 'UTC')))
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '区划；分析请用 v_jurisdictions | jurisdictions; analysts read v_jurisdictions';

CREATE TABLE IF NOT EXISTS index_weights
(
    loaded_at       DateTime64(3, 'UTC')           COMMENT '载入时间 | when this load was made; the newest counts',
    version         UInt32                         COMMENT '版本 | version of the definition',
    valid_from      DateTime64(3, 'UTC')           COMMENT '生效时间 | hours from here on use this version',
    valid_to        Nullable(DateTime64(3, 'UTC')) COMMENT '失效时间 | until the next version, excluded',
    category        LowCardinality(String)         COMMENT '大类 | category',
    category_zh     String                         COMMENT '大类名称 | name of the category in Chinese',
    category_en     String                         COMMENT '大类英文名称 | name of the category in English',
    category_weight Float64                        COMMENT '大类权重 | weight of the category in the index',
    indicator       LowCardinality(String)         COMMENT '指标 | indicator',
    indicator_zh    String                         COMMENT '指标名称 | name of the indicator in Chinese',
    indicator_en    String                         COMMENT '指标英文名称 | name of the indicator in English',
    unit            LowCardinality(String)         COMMENT '单位 | unit of the value, before it is related to inhabitants',
    source          LowCardinality(String)         COMMENT '来源 | readings, camera-events, tickets, alerts, incidents or overdue',
    kinds           Array(String)                  COMMENT '类型，* 为全部 | kinds that count, * for all',
    aggregate       LowCardinality(String)         COMMENT '汇总方式 | mean, max, min, count or sum',
    per             LowCardinality(String)         COMMENT '口径：100k 为每十万常住人口 | 100k: for each 100,000 inhabitants, where they are known',
    good            Float64                        COMMENT '满分值 | a value as good as this scores 100',
    bad             Float64                        COMMENT '零分值 | a value as bad as this scores 0',
    weight          Float64                        COMMENT '权重 | weight of the indicator in its category'
)
ENGINE = ReplacingMergeTree
ORDER BY (loaded_at, version, category, indicator)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '城市运行指数权重；分析请用 v_index_weights | weights of the index; analysts read v_index_weights';

-- Roll-up by hour. It sees what is inserted from now on; rows from before have no jurisdiction and are not in the index.
CREATE TABLE IF NOT EXISTS observation_hours
(
    hour         DateTime('UTC')                         COMMENT '小时 | hour of the event time',
    jurisdiction LowCardinality(String)                  COMMENT '区划代码，空为无 | code of the jurisdiction, empty for none',
    source       LowCardinality(String)                  COMMENT '来源 | readings, camera-events or tickets',
    kind         LowCardinality(String)                  COMMENT '类型 | metric, event or category',
    quality      UInt8                                   COMMENT '质量 | 0 good, 1 suspect, 2 bad',
    records      SimpleAggregateFunction(sum, UInt64)    COMMENT '记录数 | records',
    total        SimpleAggregateFunction(sum, Float64)   COMMENT '合计 | sum of the values',
    lowest       SimpleAggregateFunction(min, Float64)   COMMENT '最小值 | lowest value',
    highest      SimpleAggregateFunction(max, Float64)   COMMENT '最大值 | highest value'
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, jurisdiction, source, kind, quality)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '观测小时汇总 | observations rolled up by hour';

CREATE MATERIALIZED VIEW IF NOT EXISTS observation_hours_fill TO observation_hours
(
    hour         DateTime('UTC')        COMMENT '小时 | hour of the event time',
    jurisdiction LowCardinality(String) COMMENT '区划代码，空为无 | code of the jurisdiction, empty for none',
    source       LowCardinality(String) COMMENT '来源 | readings, camera-events or tickets',
    kind         LowCardinality(String) COMMENT '类型 | metric, event or category',
    quality      UInt8                  COMMENT '质量 | 0 good, 1 suspect, 2 bad',
    records      UInt64                 COMMENT '记录数 | records',
    total        Float64                COMMENT '合计 | sum of the values',
    lowest       Float64                COMMENT '最小值 | lowest value',
    highest      Float64                COMMENT '最大值 | highest value'
)
AS SELECT
    toStartOfHour(toDateTime(event_at, 'UTC')) AS hour,
    ifNull(jurisdiction, '') AS jurisdiction,
    source,
    kind,
    quality,
    count() AS records,
    sum(value) AS total,
    min(value) AS lowest,
    max(value) AS highest
FROM observations
GROUP BY hour, jurisdiction, source, kind, quality
COMMENT '填充观测小时汇总 | fills observation_hours as observations come in';

CREATE OR REPLACE VIEW v_jurisdictions
(
    code       String                         COMMENT '区划代码 | code',
    name_zh    String                         COMMENT '名称 | name in Chinese',
    name_en    Nullable(String)               COMMENT '英文名称 | name in English',
    level      LowCardinality(String)         COMMENT '层级 | city, district, subdistrict, community or unit',
    parent     Nullable(String)               COMMENT '上级代码 | code of the one above',
    district   Nullable(String)               COMMENT '所属区代码 | code of the district it belongs to',
    valid_from Nullable(DateTime64(3, 'UTC')) COMMENT '生效时间 | from when it is valid, null for always',
    valid_to   Nullable(DateTime64(3, 'UTC')) COMMENT '失效时间 | until when, excluded, null for open',
    population Nullable(UInt32)               COMMENT '常住人口 | inhabitants, null when not known'
)
AS SELECT code, name_zh, name_en, level, parent, district, valid_from, valid_to, population
FROM jurisdictions
WHERE loaded_at = (SELECT max(loaded_at) FROM jurisdictions)
COMMENT '区划 | jurisdictions of the city';

CREATE OR REPLACE VIEW v_index_weights
(
    version         UInt32                         COMMENT '版本 | version of the definition',
    valid_from      DateTime64(3, 'UTC')           COMMENT '生效时间 | hours from here on use this version',
    valid_to        Nullable(DateTime64(3, 'UTC')) COMMENT '失效时间 | until the next version, excluded',
    category        LowCardinality(String)         COMMENT '大类 | category',
    category_zh     String                         COMMENT '大类名称 | name of the category in Chinese',
    category_en     String                         COMMENT '大类英文名称 | name of the category in English',
    category_weight Float64                        COMMENT '大类权重 | weight of the category in the index',
    indicator       LowCardinality(String)         COMMENT '指标 | indicator',
    indicator_zh    String                         COMMENT '指标名称 | name of the indicator in Chinese',
    indicator_en    String                         COMMENT '指标英文名称 | name of the indicator in English',
    unit            LowCardinality(String)         COMMENT '单位 | unit of the value',
    source          LowCardinality(String)         COMMENT '来源 | readings, camera-events, tickets, alerts, incidents or overdue',
    kinds           Array(String)                  COMMENT '类型，* 为全部 | kinds that count, * for all',
    aggregate       LowCardinality(String)         COMMENT '汇总方式 | mean, max, min, count or sum',
    per             LowCardinality(String)         COMMENT '口径 | 100k: for each 100,000 inhabitants, where they are known',
    good            Float64                        COMMENT '满分值 | a value as good as this scores 100',
    bad             Float64                        COMMENT '零分值 | a value as bad as this scores 0',
    weight          Float64                        COMMENT '权重 | weight of the indicator in its category'
)
AS SELECT
    version, valid_from, valid_to, category, category_zh, category_en, category_weight, indicator, indicator_zh,
    indicator_en, unit, source, kinds, aggregate, per, good, bad, weight
FROM index_weights
WHERE loaded_at = (SELECT max(loaded_at) FROM index_weights)
COMMENT '城市运行指数的定义 | definition of the city operation index';

CREATE TABLE IF NOT EXISTS departments
(
    loaded_at    DateTime64(3, 'UTC')   COMMENT '载入时间 | when this load was made; the newest counts',
    department   String                 COMMENT '单位代码 | id of the department, as incidents name it',
    name_zh      String                 COMMENT '名称 | name in Chinese',
    name_en      String                 COMMENT '英文名称 | name in English',
    level        LowCardinality(String) COMMENT '层级 | city, district, subdistrict, community or unit',
    jurisdiction Nullable(String)       COMMENT '辖区代码 | code of its jurisdiction',
    parent       Nullable(String)       COMMENT '上级单位 | department that it escalates to'
)
ENGINE = ReplacingMergeTree
ORDER BY (loaded_at, department)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '单位；分析请用 v_departments | departments; analysts read v_departments';

CREATE OR REPLACE VIEW v_departments
(
    department   String                 COMMENT '单位代码 | id of the department, as incidents name it',
    name_zh      String                 COMMENT '名称 | name in Chinese',
    name_en      String                 COMMENT '英文名称 | name in English',
    level        LowCardinality(String) COMMENT '层级 | city, district, subdistrict, community or unit',
    jurisdiction Nullable(String)       COMMENT '辖区代码 | code of its jurisdiction',
    parent       Nullable(String)       COMMENT '上级单位 | department that it escalates to'
)
AS SELECT department, name_zh, name_en, level, jurisdiction, parent
FROM departments
WHERE loaded_at = (SELECT max(loaded_at) FROM departments)
COMMENT '单位 | departments of the city';
