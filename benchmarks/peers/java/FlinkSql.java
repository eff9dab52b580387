import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.CoreOptions;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;

/**
 * CityJoin in Flink SQL: three tables over Kafka with a watermark each (pushed into the source, hence per partition), a
 * view that says what each record counts for, and a tumbling window over it.
 *
 * <p>Arguments: bootstrap, readings, camera events, tickets, output, group, cores.
 */
public final class FlinkSql {
    private static final String SOURCE = """
            CREATE TABLE %s (
              %s,
              ts BIGINT,
              lon DOUBLE,
              lat DOUBLE,
              at_time AS TO_TIMESTAMP_LTZ(ts, 3),
              WATERMARK FOR at_time AS at_time - INTERVAL '5' SECOND
            ) WITH (
              'connector' = 'kafka',
              'topic' = '%s',
              'properties.bootstrap.servers' = '%s',
              'properties.group.id' = '%s',
              'properties.max.partition.fetch.bytes' = '4194304',
              'properties.max.poll.records' = '10000',
              'scan.startup.mode' = 'earliest-offset',
              'format' = 'json'
            )""";
    private static final String SINK = """
            CREATE TABLE alerts (cell INT, window_start_ms BIGINT, m DOUBLE, c BIGINT, t BIGINT) WITH (
              'connector' = 'kafka',
              'topic' = '%s',
              'properties.bootstrap.servers' = '%s',
              'sink.delivery-guarantee' = 'none',
              'format' = 'json'
            )""";
    private static final String PARTS = """
            CREATE VIEW parts AS
            SELECT at_time, lon, lat, `value` AS level, 0 AS camera, 0 AS ticket FROM readings
            WHERE metric = 'water_level_mm' AND quality = 'good'
            UNION ALL
            SELECT at_time, lon, lat, CAST(NULL AS DOUBLE), 1, 0 FROM camera_events
            WHERE event = 'waterlogging' AND confidence >= 0.6
            UNION ALL
            SELECT at_time, lon, lat, CAST(NULL AS DOUBLE), 0, 1 FROM tickets
            WHERE category = 'flood'""";
    private static final String IN_CELLS = """
            CREATE VIEW in_cells AS
            SELECT
              at_time,
              CAST(FLOOR((lat - 31.15) * 1000) AS INT) * 120 + CAST(FLOOR((lon - 121.40) * 1000) AS INT) AS cell,
              level, camera, ticket
            FROM parts
            WHERE lon >= 121.40 AND lon < 121.52 AND lat >= 31.15 AND lat < 31.27""";
    private static final String ALERTS = """
            INSERT INTO alerts
            SELECT
              cell,
              CAST(TIMESTAMPDIFF(SECOND, TIMESTAMP '1970-01-01 00:00:00', window_start) AS BIGINT) * 1000,
              MAX(level), SUM(camera), SUM(ticket)
            FROM TABLE(TUMBLE(TABLE in_cells, DESCRIPTOR(at_time), INTERVAL '1' MINUTE))
            GROUP BY cell, window_start, window_end
            HAVING MAX(level) >= 150 AND SUM(camera) + SUM(ticket) >= 1""";

    private FlinkSql() {}

    public static void main(String[] args) throws Exception {
        String bootstrap = args[0];
        String group = args[5];
        Configuration settings = new Configuration();
        settings.set(PipelineOptions.OBJECT_REUSE, true);
        settings.set(StateBackendOptions.STATE_BACKEND, "hashmap");
        settings.set(CoreOptions.DEFAULT_PARALLELISM, Integer.parseInt(args[6]));
        TableEnvironment tables = TableEnvironment.create(
                EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(settings).build());
        tables.getConfig().set("table.local-time-zone", "UTC");
        String readings = "metric STRING, `value` DOUBLE, quality STRING";
        tables.executeSql(SOURCE.formatted("readings", readings, args[1], bootstrap, group));
        String cameraEvents = "event STRING, confidence DOUBLE";
        tables.executeSql(SOURCE.formatted("camera_events", cameraEvents, args[2], bootstrap, group));
        tables.executeSql(SOURCE.formatted("tickets", "category STRING", args[3], bootstrap, group));
        tables.executeSql(SINK.formatted(args[4], bootstrap));
        tables.executeSql(PARTS);
        tables.executeSql(IN_CELLS);
        tables.executeSql(ALERTS).await();
    }
}
