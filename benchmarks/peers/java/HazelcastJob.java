import com.hazelcast.config.Config;
import com.hazelcast.config.NetworkConfig;
import com.hazelcast.core.Hazelcast;
import com.hazelcast.core.HazelcastInstance;
import com.hazelcast.function.FunctionEx;
import com.hazelcast.jet.aggregate.AggregateOperation;
import com.hazelcast.jet.aggregate.AggregateOperation1;
import com.hazelcast.jet.config.EdgeConfig;
import com.hazelcast.jet.config.JetConfig;
import com.hazelcast.jet.config.JobConfig;
import com.hazelcast.jet.config.ProcessingGuarantee;
import com.hazelcast.jet.kafka.KafkaSinks;
import com.hazelcast.jet.kafka.KafkaSources;
import com.hazelcast.jet.pipeline.Pipeline;
import com.hazelcast.jet.pipeline.StreamSource;
import com.hazelcast.jet.pipeline.WindowDefinition;
import java.io.Serializable;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * CityJoin in Hazelcast Jet, a member embedded in this process: one source over the three topics with a watermark per
 * partition, and a tumbling window per cell, which Jet adds up in two steps, before and after it parts by cell.
 *
 * <p>Arguments: bootstrap, readings, camera events, tickets, output, group, cores.
 */
public final class HazelcastJob {
    private static final String FETCH_BYTES = "4194304";
    private static final String POLL_RECORDS = "10000"; // 500 by default

    private HazelcastJob() {}

    public static void main(String[] args) {
        int cores = Integer.parseInt(args[6]);
        HazelcastInstance member = Hazelcast.newHazelcastInstance(member(args[5], cores));
        JobConfig job = new JobConfig()
                .setName(args[5])
                .setProcessingGuarantee(ProcessingGuarantee.NONE)
                .setMetricsEnabled(false);
        member.getJet().newJob(pipeline(args, cores), job).join();
    }

    /** A member alone: it looks for no others and opens no port but on loopback. */
    private static Config member(String name, int cores) {
        Config config = new Config();
        config.setClusterName(name);
        config.setProperty("hazelcast.phone.home.enabled", "false");
        config.setProperty("hazelcast.socket.bind.any", "false");
        NetworkConfig network = config.getNetworkConfig();
        network.setPublicAddress("127.0.0.1");
        network.getInterfaces().setEnabled(true).addInterface("127.0.0.1");
        network.getJoin().getAutoDetectionConfig().setEnabled(false);
        network.getJoin().getMulticastConfig().setEnabled(false);
        JetConfig jet = config.getJetConfig().setEnabled(true).setCooperativeThreadCount(cores);
        jet.setDefaultEdgeConfig(new EdgeConfig().setQueueSize(Integer.getInteger("queue", 1024)));
        return config;
    }

    private static Pipeline pipeline(String[] args, int cores) {
        String output = args[4];
        Properties consumer = new Properties();
        consumer.setProperty("bootstrap.servers", args[0]);
        consumer.setProperty("group.id", args[5]);
        consumer.setProperty("key.deserializer", ByteArrayDeserializer.class.getName());
        consumer.setProperty("value.deserializer", ByteArrayDeserializer.class.getName());
        consumer.setProperty("auto.offset.reset", "earliest");
        consumer.setProperty("enable.auto.commit", "false");
        consumer.setProperty("max.partition.fetch.bytes", FETCH_BYTES);
        consumer.setProperty("max.poll.records", POLL_RECORDS);
        Properties producer = new Properties();
        producer.setProperty("bootstrap.servers", args[0]);
        producer.setProperty("key.serializer", ByteArraySerializer.class.getName());
        producer.setProperty("value.serializer", ByteArraySerializer.class.getName());

        StreamSource<Part> raw = KafkaSources.kafka(
                consumer, new Parts(List.of(args[1], args[2], args[3])), args[1], args[2], args[3]);
        // by default a partition without a record for a minute no longer holds the watermark, which a backlog does not bear
        raw.setPartitionIdleTimeout(0);
        Pipeline pipeline = Pipeline.create();
        pipeline.readFrom(raw)
                .withTimestamps(part -> part.atMs, CityJoin.DISORDER_MS)
                .setLocalParallelism(cores)
                .filter(Part::counts)
                .groupingKey(part -> part.cell)
                .window(WindowDefinition.tumbling(CityJoin.WINDOW_MS))
                .aggregate(sums())
                .filter(result -> result.result().raised())
                .writeTo(KafkaSinks.kafka(producer, result -> new ProducerRecord<byte[], byte[]>(
                        output, result.result().alert(result.key(), result.start()))));
        return pipeline;
    }

    private static AggregateOperation1<Part, Sums, Sums> sums() {
        return AggregateOperation.withCreate(Sums::new)
                .<Part>andAccumulate(Sums::add)
                .andCombine(Sums::combine)
                .andExportFinish(sums -> sums);
    }

    /** A record's part in the rule. It waits in queues, so it is an object of its own. */
    private static final class Part implements Serializable {
        private static final long serialVersionUID = 1;
        final long atMs;
        final int cell;
        final double level;
        final byte cameras;
        final byte tickets;

        Part(CityJoin.Part part) {
            atMs = part.atMs;
            cell = part.counts() ? part.cell : -1;
            level = part.level;
            cameras = (byte) part.cameras;
            tickets = (byte) part.tickets;
        }

        boolean counts() {
            return cell >= 0;
        }
    }

    /** What a cell's window has come to. */
    private static final class Sums implements Serializable {
        private static final long serialVersionUID = 1;
        double level = CityJoin.NO_LEVEL;
        int cameras;
        int tickets;

        void add(Part part) {
            level = Math.max(level, part.level);
            cameras += part.cameras;
            tickets += part.tickets;
        }

        void combine(Sums other) {
            level = Math.max(level, other.level);
            cameras += other.cameras;
            tickets += other.tickets;
        }

        boolean raised() {
            return CityJoin.raised(level, cameras, tickets);
        }

        byte[] alert(int cell, long windowMs) {
            return CityJoin.alert(cell, windowMs, level, cameras, tickets);
        }
    }

    /**
     * Kafka record to part, null for what Jet should drop at once: a record that cannot change an alert, unless it moves
     * its partition's watermark into another window. Those that do are kept for their time alone.
     */
    private static final class Parts implements FunctionEx<ConsumerRecord<byte[], byte[]>, Part> {
        private static final long serialVersionUID = 1;
        /** The source's processors are threads that share this function. */
        private static final ThreadLocal<Reader> READER = ThreadLocal.withInitial(Reader::new);
        private final List<String> topics;

        Parts(List<String> topics) {
            this.topics = topics;
        }

        @Override
        public Part applyEx(ConsumerRecord<byte[], byte[]> record) {
            Reader reader = READER.get();
            CityJoin.Part part = reader.part;
            int source = CityJoin.source(record.topic(), topics.get(0), topics.get(1), topics.get(2));
            CityJoin.parse(source, reader.scanner, record.value(), part);
            long closes = CityJoin.windowStart(part.atMs - CityJoin.DISORDER_MS);
            boolean moves = reader.moves(source, record.partition(), closes);
            return moves || part.counts() ? new Part(part) : null;
        }
    }

    /** What a thread of the source keeps between records. */
    private static final class Reader {
        final CityJoin.Part part = new CityJoin.Part();
        final JsonScanner scanner = new JsonScanner();
        private final long[][] closed = new long[3][0]; // by source and partition

        boolean moves(int source, int partition, long closes) {
            long[] marks = closed[source];
            if (partition >= marks.length) {
                marks = closed[source] = Arrays.copyOf(marks, partition + 1); // 0 is before any record
            }
            if (closes <= marks[partition]) {
                return false;
            }
            marks[partition] = closes;
            return true;
        }
    }
}
