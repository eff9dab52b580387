import java.nio.charset.StandardCharsets;

/**
 * What every Java peer needs of CityJoin: a raw record's part in the rule, cells, windows and the alert's JSON. The rule
 * itself is one line, {@link #raised}; benchmarks/cityjoin_data.py describes the data.
 */
public final class CityJoin {
    public static final int READINGS = 0;
    public static final int CAMERA_EVENTS = 1;
    public static final int TICKETS = 2;

    public static final long WINDOW_MS = 60_000;
    public static final long DISORDER_MS = 5_000;
    public static final double NO_LEVEL = Double.NEGATIVE_INFINITY;

    private static final double WEST = 121.40;
    private static final double SOUTH = 31.15;
    private static final double CELLS_PER_DEGREE = 1000.0;
    private static final int SIDE = 120;
    private static final double RAISE_AT_MM = 150.0;
    private static final double CONFIDENCE = 0.6;
    private static final int OUTSIDE = -1;

    private static final byte[] TS = bytes("ts");
    private static final byte[] LON = bytes("lon");
    private static final byte[] LAT = bytes("lat");
    private static final byte[] METRIC = bytes("metric");
    private static final byte[] VALUE = bytes("value");
    private static final byte[] QUALITY = bytes("quality");
    private static final byte[] EVENT = bytes("event");
    private static final byte[] CONFIDENCE_FIELD = bytes("confidence");
    private static final byte[] CATEGORY = bytes("category");
    private static final byte[] WATER_LEVEL = bytes("water_level_mm");
    private static final byte[] GOOD = bytes("good");
    private static final byte[] WATERLOGGING = bytes("waterlogging");
    private static final byte[] FLOOD = bytes("flood");

    private CityJoin() {}

    /** A raw record's part in the rule. Public fields, one object used again for record after record. */
    public static final class Part {
        public long atMs;
        /** row * 120 + column; below 0 outside the city */
        public int cell;
        /** millimetres of a good level reading, else NO_LEVEL */
        public double level;
        /** 1 for a camera event that counts, else 0 */
        public int cameras;
        /** 1 for a ticket that counts, else 0 */
        public int tickets;

        /** Whether it may change an alert. What may not still moves event time. */
        public boolean counts() {
            return cell >= 0 && (cameras + tickets > 0 || level > NO_LEVEL);
        }
    }

    /** The topic's kind of record: READINGS, CAMERA_EVENTS or TICKETS. */
    public static int source(String topic, String readings, String cameraEvents, String tickets) {
        if (topic.equals(readings)) {
            return READINGS;
        }
        if (topic.equals(cameraEvents)) {
            return CAMERA_EVENTS;
        }
        if (topic.equals(tickets)) {
            return TICKETS;
        }
        throw new IllegalArgumentException("no topic of this job: " + topic);
    }

    /** Reads one record into {@code part}. Throws JsonScanner.Malformed, which says where, for what is no such record. */
    public static void parse(int source, byte[] json, Part part) {
        parse(source, new JsonScanner(), json, part);
    }

    /** The same with a scanner of the caller's, for a thread that reads many. */
    public static void parse(int source, JsonScanner in, byte[] json, Part part) {
        double lon = Double.NaN;
        double lat = Double.NaN;
        double value = Double.NaN;
        boolean kindCounts = false;
        boolean good = false;
        long atMs = Long.MIN_VALUE;
        in.start(json);
        while (in.nextField()) {
            if (in.fieldIs(TS)) {
                atMs = in.longValue();
            } else if (in.fieldIs(LON)) {
                lon = in.doubleValue();
            } else if (in.fieldIs(LAT)) {
                lat = in.doubleValue();
            } else if (source == READINGS && in.fieldIs(METRIC)) {
                kindCounts = in.stringValueIs(WATER_LEVEL);
            } else if (source == READINGS && in.fieldIs(VALUE)) {
                value = in.doubleValue();
            } else if (source == READINGS && in.fieldIs(QUALITY)) {
                good = in.stringValueIs(GOOD);
            } else if (source == CAMERA_EVENTS && in.fieldIs(EVENT)) {
                kindCounts = in.stringValueIs(WATERLOGGING);
            } else if (source == CAMERA_EVENTS && in.fieldIs(CONFIDENCE_FIELD)) {
                value = in.doubleValue();
            } else if (source == TICKETS && in.fieldIs(CATEGORY)) {
                kindCounts = in.stringValueIs(FLOOD);
            } else {
                in.skipValue();
            }
        }
        if (atMs == Long.MIN_VALUE) {
            throw new JsonScanner.Malformed("no field ts in " + new String(json, StandardCharsets.UTF_8));
        }
        part.atMs = atMs;
        part.cell = cell(lon, lat);
        part.level = source == READINGS && kindCounts && good && value == value ? value : NO_LEVEL;
        part.cameras = source == CAMERA_EVENTS && kindCounts && value >= CONFIDENCE ? 1 : 0;
        part.tickets = source == TICKETS && kindCounts ? 1 : 0;
    }

    /** The cell of a point, below 0 outside the city or without a point. */
    public static int cell(double lon, double lat) {
        double column = Math.floor((lon - WEST) * CELLS_PER_DEGREE);
        double row = Math.floor((lat - SOUTH) * CELLS_PER_DEGREE);
        boolean inside = column >= 0 && column < SIDE && row >= 0 && row < SIDE;
        return inside ? (int) row * SIDE + (int) column : OUTSIDE;
    }

    /** Start of the tumbling window that holds {@code atMs}. */
    public static long windowStart(long atMs) {
        return Math.floorDiv(atMs, WINDOW_MS) * WINDOW_MS;
    }

    /** The rule. */
    public static boolean raised(double level, long cameras, long tickets) {
        return level >= RAISE_AT_MM && cameras + tickets >= 1;
    }

    /** The record that the comparison reads. */
    public static byte[] alert(int cell, long windowStartMs, double level, long cameras, long tickets) {
        return bytes("{\"cell\":" + cell + ",\"window_start_ms\":" + windowStartMs + ",\"m\":" + level + ",\"c\":"
                + cameras + ",\"t\":" + tickets + "}");
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
