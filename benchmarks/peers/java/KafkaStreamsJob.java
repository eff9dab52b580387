import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.processor.StreamPartitioner;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * CityJoin in Kafka Streams' Processor API. Task i of the first half reads partition i of the three topics, adds up each
 * cell's minute as far as it sees it, and sends the sums on by cell once its own watermark, the least of its three
 * partitions', has passed the minute; the watermark itself goes to all partitions. The second half adds the sums of the
 * four tasks and judges a minute when all four watermarks have passed it. Hence no skew between partitions, and no order
 * in which Kafka Streams takes them, can make a record late.
 *
 * <p>Arguments: bootstrap, readings, camera events, tickets, output, group, cores, folder of state, "heap" or "changelog".
 * With "changelog" all state is in stores with a changelog and processing is exactly once, so that the job goes on where
 * it was after a crash; sums then go on record by record, because a second store would cost more than it saves.
 */
public final class KafkaStreamsJob {
    private static final int PARTITIONS = 4;
    private static final int WORKERS_SEE = 3; // partitions of raw topics that one task reads
    private static final byte[] KEY = {}; // repartitioning drops records without a key; the partitioner looks at the value
    private static final long NONE = Long.MIN_VALUE;

    private KafkaStreamsJob() {}

    public static void main(String[] args) throws Exception {
        List<String> topics = List.of(args[1], args[2], args[3]);
        boolean recovers = args[8].equals("changelog");
        Serde<byte[]> bytes = Serdes.ByteArray();
        StreamsBuilder builder = new StreamsBuilder();
        String[] ofPlace = {};
        String[] ofJoin = {};
        if (recovers) {
            ofPlace = new String[] {Place.MARKS};
            ofJoin = new String[] {Join.MARKS, Join.CELLS};
            builder.addStateStore(logged(Place.MARKS)).addStateStore(logged(Join.MARKS)).addStateStore(logged(Join.CELLS));
        }
        builder.stream(topics, Consumed.with(bytes, bytes))
                .process(() -> new Place(topics, recovers), ofPlace)
                .repartition(Repartitioned.with(bytes, bytes)
                        .withName("by-cell")
                        .withNumberOfPartitions(PARTITIONS)
                        .withStreamPartitioner(new ByCell()))
                .process(() -> new Join(recovers), ofJoin)
                .to(args[4], Produced.with(bytes, bytes));
        KafkaStreams streams = new KafkaStreams(builder.build(), settings(args, recovers));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(10))));
        streams.start();
        new CountDownLatch(1).await();
    }

    private static Properties settings(String[] args, boolean recovers) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, args[5]);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, args[6]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, args[7]);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, "1");
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, "10000");
        if (recovers) {
            settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
            // Kafka Streams' own default of 10 s is less than a commit every 10 s may need
            settings.put(StreamsConfig.producerPrefix(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG), "60000");
        }
        // the job brings its own watermarks: nothing is won by waiting for a partition that has no record at hand
        settings.put(StreamsConfig.MAX_TASK_IDLE_MS_CONFIG, "-1");
        settings.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, "10000");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), "10000");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), "4194304");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), "131072");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), "100");
        return settings;
    }

    private static StoreBuilder<KeyValueStore<byte[], byte[]>> logged(String name) {
        // no record cache: it costs more than the changelog records that it saves
        return Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore(name), Serdes.ByteArray(), Serdes.ByteArray())
                .withLoggingEnabled(Map.of());
    }

    /** What goes from the first half to the second: a cell's sums, or a task's watermark. */
    private static final class Message {
        private static final byte SUMS = 0;
        private static final byte WATERMARK = 1;

        static byte[] sums(int cell, long windowMs, double level, int cameras, int tickets) {
            return ByteBuffer.allocate(29)
                    .put(SUMS).putInt(cell).putLong(windowMs).putDouble(level).putInt(cameras).putInt(tickets).array();
        }

        static byte[] watermark(int task, long atMs) {
            return ByteBuffer.allocate(13).put(WATERMARK).putInt(task).putLong(atMs).array();
        }
    }

    /** Sums to the partition of their cell, watermarks to all. */
    private static final class ByCell implements StreamPartitioner<byte[], byte[]> {
        private static final Set<Integer> ALL = Set.of(0, 1, 2, 3);
        private static final List<Optional<Set<Integer>>> ONE =
                List.of(Optional.of(Set.of(0)), Optional.of(Set.of(1)), Optional.of(Set.of(2)), Optional.of(Set.of(3)));

        @Override
        public Optional<Set<Integer>> partitions(String topic, byte[] key, byte[] value, int partitions) {
            return value[0] == Message.WATERMARK ? Optional.of(ALL) : ONE.get(ByteBuffer.wrap(value).getInt(1) % PARTITIONS);
        }
    }

    /** The first half. */
    private static final class Place implements Processor<byte[], byte[], byte[], byte[]> {
        static final String MARKS = "marks-of-partitions";

        private final List<String> topics;
        private final boolean recovers;
        private final CityJoin.Part part = new CityJoin.Part();
        private final JsonScanner scanner = new JsonScanner();
        private final HeapCells cells = new HeapCells();
        private ProcessorContext<byte[], byte[]> context;
        private Marks marks;
        private long toldMs;

        Place(List<String> topics, boolean recovers) {
            this.topics = topics;
            this.recovers = recovers;
        }

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            marks = new Marks(WORKERS_SEE, recovers ? context.getStateStore(MARKS) : null);
            toldMs = marks.least();
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            String topic = context.recordMetadata().orElseThrow().topic();
            int source = CityJoin.source(topic, topics.get(0), topics.get(1), topics.get(2));
            CityJoin.parse(source, scanner, record.value(), part);
            if (part.counts()) {
                long windowMs = CityJoin.windowStart(part.atMs);
                if (recovers) {
                    send(Message.sums(part.cell, windowMs, part.level, part.cameras, part.tickets), record.timestamp());
                } else {
                    cells.add(part.cell, windowMs, part.level, part.cameras, part.tickets);
                }
            }
            // only windows matter: a mark is the start of the first window that may still get records
            if (marks.raise(source, CityJoin.windowStart(part.atMs - CityJoin.DISORDER_MS)) && marks.least() > toldMs) {
                toldMs = marks.least();
                cells.close(toldMs, (cell, windowMs, level, cameras, tickets) ->
                        send(Message.sums(cell, windowMs, level, cameras, tickets), record.timestamp()));
                send(Message.watermark(context.taskId().partition(), toldMs), record.timestamp());
            }
        }

        private void send(byte[] message, long atMs) {
            context.forward(new Record<>(KEY, message, atMs));
        }
    }

    /** The second half. */
    private static final class Join implements Processor<byte[], byte[], byte[], byte[]> {
        static final String MARKS = "marks-of-tasks";
        static final String CELLS = "cells";

        private final boolean recovers;
        private ProcessorContext<byte[], byte[]> context;
        private Marks marks;
        private Cells cells;

        Join(boolean recovers) {
            this.recovers = recovers;
        }

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            marks = new Marks(PARTITIONS, recovers ? context.getStateStore(MARKS) : null);
            cells = recovers ? new StoredCells(context.getStateStore(CELLS)) : new HeapCells();
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            ByteBuffer message = ByteBuffer.wrap(record.value());
            if (message.get() == Message.SUMS) {
                int cell = message.getInt();
                long windowMs = message.getLong();
                if (windowMs < marks.least()) {
                    throw new IllegalStateException("sums of a window that was judged already: " + windowMs);
                }
                cells.add(cell, windowMs, message.getDouble(), message.getInt(), message.getInt());
                return;
            }
            long before = marks.least();
            if (marks.raise(message.getInt(), message.getLong()) && marks.least() > before) {
                cells.close(marks.least(), (cell, windowMs, level, cameras, tickets) -> {
                    if (CityJoin.raised(level, cameras, tickets)) {
                        byte[] alert = CityJoin.alert(cell, windowMs, level, cameras, tickets);
                        context.forward(new Record<>(KEY, alert, record.timestamp()));
                    }
                });
            }
        }
    }

    /** The watermark of each input; kept in a store too where there is one. */
    private static final class Marks {
        private final long[] marks;
        private final KeyValueStore<byte[], byte[]> store;
        private long least = NONE;

        Marks(int inputs, KeyValueStore<byte[], byte[]> store) {
            this.store = store;
            marks = new long[inputs];
            Arrays.fill(marks, NONE);
            for (int input = 0; store != null && input < inputs; input++) {
                byte[] kept = store.get(key(input));
                if (kept != null) {
                    marks[input] = ByteBuffer.wrap(kept).getLong();
                }
            }
            least = Arrays.stream(marks).min().orElseThrow();
        }

        /** The least mark of all; NONE until each input has one. */
        long least() {
            return least;
        }

        /** Whether the input's mark rose. */
        boolean raise(int input, long atMs) {
            if (atMs <= marks[input]) {
                return false;
            }
            marks[input] = atMs;
            least = Arrays.stream(marks).min().orElseThrow();
            if (store != null) {
                store.put(key(input), ByteBuffer.allocate(Long.BYTES).putLong(atMs).array());
            }
            return true;
        }

        private static byte[] key(int input) {
            return new byte[] {(byte) input};
        }
    }

    private interface Closed {
        void closed(int cell, long windowMs, double level, int cameras, int tickets);
    }

    /** Sums by window and cell. */
    private interface Cells {
        void add(int cell, long windowMs, double level, int cameras, int tickets);

        /** Hands over and forgets all windows before {@code untilMs}. */
        void close(long untilMs, Closed closed);
    }

    /** On the heap, which is a third quicker than Kafka Streams' own store in memory, and as lasting. */
    private static final class HeapCells implements Cells {
        private static final class Sums {
            double level = CityJoin.NO_LEVEL;
            int cameras;
            int tickets;
        }

        private final TreeMap<Long, HashMap<Integer, Sums>> windows = new TreeMap<>();
        private HashMap<Integer, Sums> window; // the one added to last
        private long windowMs = NONE;

        @Override
        public void add(int cell, long windowMs, double level, int cameras, int tickets) {
            if (windowMs != this.windowMs) {
                this.windowMs = windowMs;
                window = windows.computeIfAbsent(windowMs, ms -> new HashMap<>());
            }
            Sums sums = window.computeIfAbsent(cell, number -> new Sums());
            sums.level = Math.max(sums.level, level);
            sums.cameras += cameras;
            sums.tickets += tickets;
        }

        @Override
        public void close(long untilMs, Closed closed) {
            windowMs = NONE;
            while (!windows.isEmpty() && windows.firstKey() < untilMs) {
                Map.Entry<Long, HashMap<Integer, Sums>> first = windows.pollFirstEntry();
                first.getValue().forEach((cell, sums) ->
                        closed.closed(cell, first.getKey(), sums.level, sums.cameras, sums.tickets));
            }
        }
    }

    /** In a store, window first in its keys, so that what is to be closed stands together. */
    private static final class StoredCells implements Cells {
        private final KeyValueStore<byte[], byte[]> store;

        StoredCells(KeyValueStore<byte[], byte[]> store) {
            this.store = store;
        }

        @Override
        public void add(int cell, long windowMs, double level, int cameras, int tickets) {
            byte[] key = key(windowMs, cell);
            byte[] kept = store.get(key);
            if (kept != null) {
                ByteBuffer sums = ByteBuffer.wrap(kept);
                level = Math.max(level, sums.getDouble());
                cameras += sums.getInt();
                tickets += sums.getInt();
            }
            store.put(key, ByteBuffer.allocate(16).putDouble(level).putInt(cameras).putInt(tickets).array());
        }

        @Override
        public void close(long untilMs, Closed closed) {
            List<byte[]> keys = new ArrayList<>();
            try (KeyValueIterator<byte[], byte[]> past = store.range(key(0, 0), key(untilMs - 1, Integer.MAX_VALUE))) {
                past.forEachRemaining(entry -> {
                    keys.add(entry.key);
                    ByteBuffer key = ByteBuffer.wrap(entry.key);
                    ByteBuffer sums = ByteBuffer.wrap(entry.value);
                    long windowMs = key.getLong();
                    closed.closed(key.getInt(), windowMs, sums.getDouble(), sums.getInt(), sums.getInt());
                });
            }
            keys.forEach(store::delete);
        }

        private static byte[] key(long windowMs, int cell) {
            return ByteBuffer.allocate(12).putLong(windowMs).putInt(cell).array();
        }
    }
}
