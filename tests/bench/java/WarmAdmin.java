import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsSpec;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/**
 * What a program with Kafka's own AdminClient needs for a reset by timestamp, once it runs and is connected: look the offsets up,
 * commit them, read them back. It checks nothing. One request a line: {@code {"servers", "group", "topics", "partitions",
 * "timestamp"}}; the answer has the milliseconds of each step. Run from its source, as KafkaTool.java is.
 */
public final class WarmAdmin {
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        Map<String, Admin> clients = new HashMap<>();
        System.out.println("{\"ready\":true}");
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            JsonNode request = JSON.readTree(line);
            String servers = request.get("servers").asText();
            Admin admin = clients.computeIfAbsent(servers, at -> Admin.create(Map.of("bootstrap.servers", at)));
            admin.describeCluster().clusterId().get();
            System.out.println(reset(admin, request));
        }
    }

    private static String reset(Admin admin, JsonNode request) throws Exception {
        String group = request.get("group").asText();
        long timestamp = request.get("timestamp").asLong();
        List<TopicPartition> all = new ArrayList<>();
        for (JsonNode topic : request.get("topics")) {
            for (int partition = 0; partition < request.get("partitions").asInt(); partition++) {
                all.add(new TopicPartition(topic.asText(), partition));
            }
        }
        long begin = System.nanoTime();
        Map<TopicPartition, OffsetSpec> lookups = new HashMap<>();
        all.forEach(at -> lookups.put(at, OffsetSpec.forTimestamp(timestamp)));
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        admin.listOffsets(lookups).all().get().forEach((at, found) -> offsets.put(at, new OffsetAndMetadata(found.offset())));
        long found = System.nanoTime();
        admin.alterConsumerGroupOffsets(group, offsets).all().get();
        long altered = System.nanoTime();
        ListConsumerGroupOffsetsSpec spec = new ListConsumerGroupOffsetsSpec().topicPartitions(all);
        Map<TopicPartition, OffsetAndMetadata> listed =
            admin.listConsumerGroupOffsets(Map.of(group, spec)).partitionsToOffsetAndMetadata(group).get();
        long ended = System.nanoTime();
        for (TopicPartition at : all) {
            if (listed.get(at).offset() != offsets.get(at).offset()) {
                throw new IllegalStateException(at + " has " + listed.get(at));
            }
        }
        return String.format("{\"lookup\":%f,\"alter\":%f,\"list\":%f}",
            (found - begin) / 1e6, (altered - found) / 1e6, (ended - altered) / 1e6);
    }
}
