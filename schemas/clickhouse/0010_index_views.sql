-- The index itself. `index_hours` computes it, one row per district and hour; the three views show it at three depths.
--
-- Places and definitions are scalars (a map, an array), not joins: a condition on `hour` or `district` then reaches the
-- roll-up, and a question about one day reads that day only.
--
-- An indicator without data is null and takes no part: its weight goes to the others of its category, and `coverage`
-- says how much of the weight had data. A place that only an address told may be a division without a boundary of its
-- own: the first six digits of its code are its district. What is counted (tickets, alerts, incidents) is 0 when there is none.

CREATE OR REPLACE VIEW index_facts
(
    district String          COMMENT '区代码 | code of the district',
    hour     DateTime('UTC') COMMENT '小时 | hour',
    source   String          COMMENT '来源；空为补零行 | readings, camera-events, tickets, alerts, incidents, overdue; empty for the zeros',
    kind     String          COMMENT '类型 | metric, event, category or type of incident',
    records  UInt64          COMMENT '数量 | how many',
    total    Float64         COMMENT '合计 | sum of the values, or of severities',
    lowest   Float64         COMMENT '最小值 | lowest value',
    highest  Float64         COMMENT '最大值 | highest value'
)
AS
WITH
    (
        SELECT mapFromArrays(groupArray(code), groupArray(its_district))
        FROM (SELECT code, any(assumeNotNull(district)) AS its_district FROM v_jurisdictions WHERE district IS NOT NULL GROUP BY code)
    ) AS district_of,
    (SELECT max(hour) FROM observation_hours) AS latest
-- for every district and hour with any data, so that nothing counted is a zero and not a gap
SELECT
    arrayJoin(arrayDistinct(mapValues(district_of))) AS district,
    hour,
    '' AS source,
    '' AS kind,
    toUInt64(0) AS records,
    toFloat64(0) AS total,
    inf AS lowest,
    -inf AS highest
FROM (SELECT DISTINCT hour FROM observation_hours WHERE jurisdiction != '')
UNION ALL
SELECT
    if(mapContains(district_of, toString(jurisdiction)), district_of[toString(jurisdiction)], district_of[left(jurisdiction, 6)]) AS district,
    hour,
    toString(source) AS source,
    toString(kind) AS kind,
    sum(observation_hours.records) AS records,
    sum(observation_hours.total) AS total,
    min(observation_hours.lowest) AS lowest,
    max(observation_hours.highest) AS highest
FROM observation_hours
WHERE (source != 'readings' OR quality = 0) AND jurisdiction != ''
GROUP BY district, hour, source, kind
HAVING district != ''
UNION ALL
-- an alert counts in each hour in which it stands, with its worst severity; an urgent ticket, which nobody clears, once
SELECT
    if(mapContains(district_of, code), district_of[code], district_of[left(code, 6)]) AS district,
    arrayJoin(arrayMap(
        i -> toStartOfHour(toDateTime(onset_at, 'UTC')) + i * 3600,
        range(toUInt32(1 + greatest(0, dateDiff('hour', toDateTime(onset_at, 'UTC'), last_at))))
    )) AS hour,
    'alerts' AS source,
    toString(category) AS kind,
    toUInt64(1) AS records,
    toFloat64(worst_severity) AS total,
    toFloat64(worst_severity) AS lowest,
    toFloat64(worst_severity) AS highest
FROM
(
    SELECT
        toString(ifNull(jurisdiction, '')) AS code, category, onset_at, worst_severity,
        multiIf(
            detector = 'urgent_ticket', toDateTime(onset_at, 'UTC'),
            cleared_at IS NULL, greatest(latest, toDateTime(onset_at, 'UTC')),
            toDateTime(assumeNotNull(cleared_at), 'UTC')
        ) AS last_at
    FROM v_alerts
)
WHERE district != ''
UNION ALL
-- an incident counts in each hour in which it is open, and once more in those in which it is past a deadline
SELECT
    district,
    arrayJoin(arrayMap(
        i -> toStartOfHour(first_at) + i * 3600, range(toUInt32(1 + greatest(0, dateDiff('hour', first_at, last_at))))
    )) AS hour,
    source,
    type AS kind,
    toUInt64(1) AS records,
    toFloat64(severity) AS total,
    toFloat64(severity) AS lowest,
    toFloat64(severity) AS highest
FROM
(
    SELECT
        ifNull(any(incidents.district), '') AS district,
        any(incidents.type) AS type,
        max(incidents.severity) AS severity,
        toDateTime(any(opened_at), 'UTC') AS opened,
        toDateTime(minIf(at, accept_overdue OR handle_overdue OR verify_overdue), 'UTC') AS overdue,
        argMax(state, revision) AS latest_state,
        if(latest_state IN ('closed', 'merged', 'false_alarm', 'cancelled'), toDateTime(max(at), 'UTC'), latest) AS last_at,
        arrayJoin([('incidents', opened), ('overdue', overdue)]) AS what,
        what.1 AS source,
        what.2 AS first_at
    FROM incidents
    GROUP BY incident_id
)
WHERE district != '' AND toUnixTimestamp(first_at) > 0
COMMENT '指数计算的中间结果 | what the index is computed from, by district, hour, source and kind';

CREATE OR REPLACE VIEW index_hours
(
    district         String            COMMENT '区代码 | code of the district',
    hour             DateTime('UTC')   COMMENT '小时 | hour',
    version          UInt32            COMMENT '指数定义版本 | version of the definition',
    index_score      Nullable(Float64) COMMENT '指数，0 到 100 | the index, 0 to 100, null without any data',
    index_coverage   Float64           COMMENT '有数据的权重占比 | share of the weight that had data',
    weight_with_data Float64           COMMENT '有数据的大类权重之和 | weight of the categories that had data',
    categories       Array(Tuple(
        category String, weight Float64, score Nullable(Float64), coverage Float64, weight_with_data Float64,
        indicators Array(Tuple(indicator String, value Nullable(Float64), score Nullable(Float64), weight Float64))
    ))                                 COMMENT '各大类及其指标 | the categories with their indicators'
)
AS
WITH
    (
        SELECT mapFromArrays(groupArray(what), groupArray(those))
        FROM
        (
            SELECT
                -- of a source and kind; of all kinds of a source; and, with no source, of the zeros
                arrayJoin(arrayConcat([''], arrayMap(one -> concat(source, '/', one), kinds))) AS what,
                groupArray((
                    version, valid_from, ifNull(valid_to, toDateTime64('2299-12-31 00:00:00', 3, 'UTC')), toString(category),
                    category_weight, toString(indicator), toString(aggregate), toString(per), good, bad, weight
                )::Tuple(
                    version UInt32, valid_from DateTime64(3, 'UTC'), valid_to DateTime64(3, 'UTC'), category String,
                    category_weight Float64, indicator String, aggregate String, per String, good Float64, bad Float64,
                    weight Float64
                )) AS those
            FROM v_index_weights
            GROUP BY what
        )
    ) AS definitions_of,
    (
        SELECT mapFromArrays(groupArray(code), groupArray(inhabitants))
        FROM (SELECT code, any(assumeNotNull(population)) AS inhabitants FROM v_jurisdictions WHERE population IS NOT NULL GROUP BY code)
    ) AS population_of
SELECT
    district,
    hour,
    max(version_here) AS version,
    sumIf(weight_of_category * points, points IS NOT NULL) / nullIf(sumIf(weight_of_category, points IS NOT NULL), 0) AS index_score,
    sum(weight_of_category * share_with_data) / sum(weight_of_category) AS index_coverage,
    sumIf(weight_of_category, points IS NOT NULL) AS weight_with_data,
    groupArray((category, weight_of_category, points, share_with_data, weight_of_indicators, parts)::Tuple(
        category String, weight Float64, score Nullable(Float64), coverage Float64, weight_with_data Float64,
        indicators Array(Tuple(indicator String, value Nullable(Float64), score Nullable(Float64), weight Float64))
    )) AS categories
FROM
(
    SELECT
        district,
        hour,
        category,
        any(category_weight) AS weight_of_category,
        max(definition_version) AS version_here,
        sumIf(weight, score IS NOT NULL) AS weight_of_indicators,
        sumIf(weight * score, score IS NOT NULL) / nullIf(sumIf(weight, score IS NOT NULL), 0) AS points,
        sumIf(weight, score IS NOT NULL) / sum(weight) AS share_with_data,
        groupArray((indicator, value, score, weight)::Tuple(
            indicator String, value Nullable(Float64), score Nullable(Float64), weight Float64
        )) AS parts
    FROM
    (
        SELECT
            district,
            hour,
            definition.category AS category,
            definition.indicator AS indicator,
            any(definition.version) AS definition_version,
            any(definition.category_weight) AS category_weight,
            any(definition.weight) AS weight,
            any(definition.good) AS good,
            any(definition.bad) AS bad,
            if(any(definition.per) = '100k' AND population_of[district] > 0, population_of[district] / 1e5, 1) AS per_inhabitants,
            multiIf(
                any(definition.aggregate) = 'count', toNullable(toFloat64(sum(records))),
                any(definition.aggregate) = 'sum', sum(total),
                sum(records) = 0, NULL,
                any(definition.aggregate) = 'mean', sum(total) / sum(records),
                any(definition.aggregate) = 'min', min(lowest),
                max(highest)
            ) / per_inhabitants AS value,
            if(value IS NULL, NULL, greatest(0, least(100, 100 * (assumeNotNull(value) - bad) / (good - bad)))) AS score
        FROM index_facts
        ARRAY JOIN arrayFilter(
            d -> hour >= d.valid_from AND hour < d.valid_to,
            if(source = '', definitions_of[''],
               arrayConcat(definitions_of[concat(source, '/', kind)], definitions_of[concat(source, '/*')]))
        ) AS definition
        GROUP BY district, hour, category, indicator
    )
    GROUP BY district, hour, category
)
GROUP BY district, hour
COMMENT '城市运行指数的计算 | the index with all its parts, one row per district and hour';

CREATE OR REPLACE VIEW v_city_index
(
    district             String            COMMENT '区代码 | code of the district',
    district_zh          String            COMMENT '区名称 | name of the district in Chinese',
    hour                 DateTime('UTC')   COMMENT '小时 | hour',
    score                Nullable(Float64) COMMENT '城市运行指数，0 到 100 | the city operation index, 0 to 100, null without any data',
    coverage             Float64           COMMENT '有数据的权重占比，0 到 1 | share of the weight that had data, 0 to 1',
    version              UInt32            COMMENT '指数定义版本 | version of the definition',
    public_order         Nullable(Float64) COMMENT '社会治安得分 | score of public order, null without data',
    traffic              Nullable(Float64) COMMENT '交通运行得分 | score of traffic, null without data',
    environment          Nullable(Float64) COMMENT '生态环境得分 | score of environment, null without data',
    municipal_facilities Nullable(Float64) COMMENT '市政设施得分 | score of municipal facilities, null without data',
    public_safety        Nullable(Float64) COMMENT '公共安全得分 | score of public safety, null without data',
    citizens_appeals     Nullable(Float64) COMMENT '群众诉求得分 | score of citizens appeals, null without data',
    public_health        Nullable(Float64) COMMENT '公共卫生得分 | score of public health, null without data',
    energy_water         Nullable(Float64) COMMENT '能源供水得分 | score of energy water, null without data'
)
AS WITH
    (
        SELECT mapFromArrays(groupArray(code), groupArray(name))
        FROM (SELECT code, any(name_zh) AS name FROM v_jurisdictions GROUP BY code)
    ) AS name_of
SELECT
    district,
    name_of[district] AS district_zh,
    hour,
    index_score AS score,
    index_coverage AS coverage,
    version,
    arrayFirstOrNull(c -> c.category = 'public_order', categories).score AS public_order,
    arrayFirstOrNull(c -> c.category = 'traffic', categories).score AS traffic,
    arrayFirstOrNull(c -> c.category = 'environment', categories).score AS environment,
    arrayFirstOrNull(c -> c.category = 'municipal_facilities', categories).score AS municipal_facilities,
    arrayFirstOrNull(c -> c.category = 'public_safety', categories).score AS public_safety,
    arrayFirstOrNull(c -> c.category = 'citizens_appeals', categories).score AS citizens_appeals,
    arrayFirstOrNull(c -> c.category = 'public_health', categories).score AS public_health,
    arrayFirstOrNull(c -> c.category = 'energy_water', categories).score AS energy_water
FROM index_hours
COMMENT '城市运行指数：各区每小时 | city operation index by district and hour';

CREATE OR REPLACE VIEW v_city_index_categories
(
    district     String            COMMENT '区代码 | code of the district',
    district_zh  String            COMMENT '区名称 | name of the district in Chinese',
    hour         DateTime('UTC')   COMMENT '小时 | hour',
    category     String            COMMENT '大类 | category',
    category_zh  String            COMMENT '大类名称 | name of the category in Chinese',
    score        Nullable(Float64) COMMENT '得分，0 到 100 | score, 0 to 100, null without data',
    weight       Float64           COMMENT '权重 | weight in the index',
    contribution Nullable(Float64) COMMENT '对指数的贡献；各大类之和为指数 | what it gives to the index; all categories together are the index',
    coverage     Float64           COMMENT '有数据的权重占比 | share of its weight that had data',
    version      UInt32            COMMENT '指数定义版本 | version of the definition'
)
AS WITH
    (
        SELECT mapFromArrays(groupArray(code), groupArray(name))
        FROM (SELECT code, any(name_zh) AS name FROM v_jurisdictions GROUP BY code)
    ) AS name_of,
    (
        SELECT mapFromArrays(groupArray(name), groupArray(zh))
        FROM (SELECT category AS name, any(category_zh) AS zh FROM v_index_weights GROUP BY category)
    ) AS category_zh_of
SELECT
    district,
    name_of[district] AS district_zh,
    hour,
    part.category AS category,
    category_zh_of[category] AS category_zh,
    part.score AS score,
    part.weight AS weight,
    score * weight / nullIf(weight_with_data, 0) AS contribution,
    part.coverage AS coverage,
    version
FROM index_hours
ARRAY JOIN categories AS part
COMMENT '城市运行指数的八个大类 | the eight categories of the city operation index';

CREATE OR REPLACE VIEW v_city_index_indicators
(
    district      String            COMMENT '区代码 | code of the district',
    district_zh   String            COMMENT '区名称 | name of the district in Chinese',
    hour          DateTime('UTC')   COMMENT '小时 | hour',
    category      String            COMMENT '大类 | category',
    indicator     String            COMMENT '指标 | indicator',
    indicator_zh  String            COMMENT '指标名称 | name of the indicator in Chinese',
    value         Nullable(Float64) COMMENT '数值 | value, null without data',
    score         Nullable(Float64) COMMENT '得分，0 到 100 | score, 0 to 100, null without data',
    weight        Float64           COMMENT '在大类中的权重 | weight in its category',
    contribution  Nullable(Float64) COMMENT '对指数的贡献；各指标之和为指数 | what it gives to the index; all indicators together are the index',
    version       UInt32            COMMENT '指数定义版本 | version of the definition'
)
AS WITH
    (
        SELECT mapFromArrays(groupArray(code), groupArray(name))
        FROM (SELECT code, any(name_zh) AS name FROM v_jurisdictions GROUP BY code)
    ) AS name_of,
    (
        SELECT mapFromArrays(groupArray(name), groupArray(zh))
        FROM (SELECT indicator AS name, any(indicator_zh) AS zh FROM v_index_weights GROUP BY indicator)
    ) AS indicator_zh_of
SELECT
    district,
    name_of[district] AS district_zh,
    hour,
    part.category AS category,
    indicator_part.indicator AS indicator,
    indicator_zh_of[indicator] AS indicator_zh,
    indicator_part.value AS value,
    indicator_part.score AS score,
    indicator_part.weight AS weight,
    score * weight / nullIf(part.weight_with_data, 0) * part.weight / nullIf(weight_with_data, 0) AS contribution,
    version
FROM index_hours
ARRAY JOIN categories AS part
ARRAY JOIN part.indicators AS indicator_part
COMMENT '城市运行指数的指标及其贡献 | the indicators of the city operation index and what each contributes';
