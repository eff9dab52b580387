import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.serialization.SerializationSchema;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/**
 * CityJoin as a Flink DataStream job in one process: one source over the three topics with a watermark per partition,
 * a filter, and a tumbling window per cell with an incremental aggregate.
 *
 * <p>Arguments: bootstrap, readings, camera events, tickets, output, group, cores, folder of checkpoints or "-".
 */
public final class FlinkDataStream {
    private static final Duration CHECKPOINT_EVERY = Duration.ofSeconds(10);
    /** Kafka's default of 1 MiB per partition and 500 records per poll costs a tenth of the speed. */
    private static final int FETCH_BYTES = 4 * 1024 * 1024;

    private static final int POLL_RECORDS = 10_000;

    private FlinkDataStream() {}

    public static void main(String[] args) throws Exception {
        String bootstrap = args[0];
        List<String> topics = List.of(args[1], args[2], args[3]);
        String output = args[4];
        String group = args[5];
        int cores = Integer.parseInt(args[6]);
        String checkpoints = args[7];
        boolean recovers = !checkpoints.equals("-");

        Configuration settings = new Configuration();
        settings.set(PipelineOptions.OBJECT_REUSE, true);
        settings.set(StateBackendOptions.STATE_BACKEND, "hashmap");
        if (recovers) {
            settings.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, checkpoints);
        }
        StreamExecutionEnvironment env = StreamExecutionEnvironment.createLocalEnvironment(cores, settings);
        if (recovers) {
            env.enableCheckpointing(CHECKPOINT_EVERY.toMillis());
        }
        Properties consumer = new Properties();
        consumer.setProperty("max.partition.fetch.bytes", Integer.toString(FETCH_BYTES));
        consumer.setProperty("max.poll.records", Integer.toString(POLL_RECORDS));
        KafkaSource<CityJoin.Part> source = KafkaSource.<CityJoin.Part>builder()
                .setBootstrapServers(bootstrap)
                .setTopics(topics)
                .setGroupId(group)
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setDeserializer(new Parts(topics))
                .setProperties(consumer)
                .build();
        WatermarkStrategy<CityJoin.Part> byPartition = WatermarkStrategy
                .<CityJoin.Part>forBoundedOutOfOrderness(Duration.ofMillis(CityJoin.DISORDER_MS))
                .withTimestampAssigner((part, atKafka) -> part.atMs);
        KafkaSink<byte[]> sink = KafkaSink.<byte[]>builder()
                .setBootstrapServers(bootstrap)
                .setDeliveryGuarantee(recovers ? DeliveryGuarantee.AT_LEAST_ONCE : DeliveryGuarantee.NONE)
                .setRecordSerializer(KafkaRecordSerializationSchema.<byte[]>builder()
                        .setTopic(output)
                        .setValueSerializationSchema(new AsItIs())
                        .build())
                .build();
        env.fromSource(source, byPartition, "raw")
                .filter(CityJoin.Part::counts)
                .keyBy(part -> part.cell)
                .window(TumblingEventTimeWindows.of(Duration.ofMillis(CityJoin.WINDOW_MS)))
                .aggregate(new Sum(), new Alerts())
                .sinkTo(sink);
        env.execute("CityJoin");
    }

    /** Kafka record to part. One object serves for all: the source hands it on before it reads the next. */
    private static final class Parts implements KafkaRecordDeserializationSchema<CityJoin.Part> {
        private static final long serialVersionUID = 1;
        private final List<String> topics;
        private transient CityJoin.Part part;
        private transient JsonScanner scanner;

        Parts(List<String> topics) {
            this.topics = topics;
        }

        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<CityJoin.Part> out) {
            if (part == null) {
                part = new CityJoin.Part();
                scanner = new JsonScanner();
            }
            int source = CityJoin.source(record.topic(), topics.get(0), topics.get(1), topics.get(2));
            CityJoin.parse(source, scanner, record.value(), part);
            out.collect(part);
        }

        @Override
        public TypeInformation<CityJoin.Part> getProducedType() {
            return TypeInformation.of(CityJoin.Part.class);
        }
    }

    /** A class, not a lambda: Flink asks it for its type parameter, which a lambda may not know. */
    private static final class AsItIs implements SerializationSchema<byte[]> {
        private static final long serialVersionUID = 1;

        @Override
        public byte[] serialize(byte[] alert) {
            return alert;
        }
    }

    /** What a cell's window has come to. */
    public static final class Sums {
        public double level = CityJoin.NO_LEVEL;
        public long cameras;
        public long tickets;
    }

    private static final class Sum implements AggregateFunction<CityJoin.Part, Sums, Sums> {
        private static final long serialVersionUID = 1;

        @Override
        public Sums createAccumulator() {
            return new Sums();
        }

        @Override
        public Sums add(CityJoin.Part part, Sums sums) {
            sums.level = Math.max(sums.level, part.level);
            sums.cameras += part.cameras;
            sums.tickets += part.tickets;
            return sums;
        }

        @Override
        public Sums getResult(Sums sums) {
            return sums;
        }

        @Override
        public Sums merge(Sums one, Sums other) {
            one.level = Math.max(one.level, other.level);
            one.cameras += other.cameras;
            one.tickets += other.tickets;
            return one;
        }
    }

    private static final class Alerts extends ProcessWindowFunction<Sums, byte[], Integer, TimeWindow> {
        private static final long serialVersionUID = 1;

        @Override
        public void process(Integer cell, Context window, Iterable<Sums> one, Collector<byte[]> out) {
            Sums sums = one.iterator().next();
            if (CityJoin.raised(sums.level, sums.cameras, sums.tickets)) {
                long startMs = window.window().getStart();
                out.collect(CityJoin.alert(cell, startMs, sums.level, sums.cameras, sums.tickets));
            }
        }
    }
}
