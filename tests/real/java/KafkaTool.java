import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs Kafka's own command-line tools, one after the other, in one virtual machine: starting one takes a second, a command in
 * one that runs takes milliseconds. Works with the jars of Kafka 3.9 and of Kafka 4, whichever are on the class path.
 *
 * <p>Each line of the input is a request: {@code {"classes": [...], "args": [...]}}, of which the first class that exists is run,
 * because tools move between versions. Each line of the output is an answer: {@code {"status": 0, "output": "..."}}, with what a
 * shell would see: both streams, and the exit status. The first line says that it is ready. It ends with its input.
 *
 * <p>Run from its source, {@code java -cp 'libs/*' KafkaTool.java}, so there is nothing to build.
 */
public final class KafkaTool {
    private static final ObjectMapper JSON = new ObjectMapper();

    /** Thrown where a tool would end its virtual machine. All of them do that by Kafka's {@link Exit}. */
    private static final class Exited extends Error {
        Exited() {
            super("the tool has ended", null, false, false);
        }
    }

    /** What the tool that runs has written; nothing that comes after its end. */
    private static final class Captured extends OutputStream {
        private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        private Integer status;

        @Override
        public synchronized void write(int value) {
            if (status == null) {
                bytes.write(value);
            }
        }

        @Override
        public synchronized void write(byte[] from, int offset, int length) {
            if (status == null) {
                bytes.write(from, offset, length);
            }
        }

        synchronized void begin() {
            bytes.reset();
            status = null;
        }

        /** The first end counts: tools catch their own exit, say so, and go on. */
        synchronized void end(int with) {
            if (status == null) {
                status = with;
            }
        }

        synchronized ObjectNode answer() {
            return JSON.createObjectNode().put("status", status).put("output", bytes.toString(StandardCharsets.UTF_8));
        }
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream answers = System.out;
        Captured captured = new Captured();
        // Once, and before any tool is loaded: Scala's console keeps the streams that it has found first.
        PrintStream stream = new PrintStream(captured, true, StandardCharsets.UTF_8);
        System.setOut(stream);
        System.setErr(stream);
        quietLogging();
        Exit.Procedure exit = (status, message) -> {
            stream.flush();
            captured.end(status);
            throw new Exited();
        };
        Exit.setExitProcedure(exit);
        Exit.setHaltProcedure(exit);

        answers.println("{\"ready\":true}");
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            JsonNode request = JSON.readTree(line);
            captured.begin();
            run(texts(request.get("classes")), texts(request.get("args")), captured);
            stream.flush();
            captured.end(0);
            answers.write((JSON.writeValueAsString(captured.answer()) + "\n").getBytes(StandardCharsets.UTF_8));
            answers.flush();
        }
    }

    private static void run(List<String> classes, List<String> arguments, Captured captured) {
        try {
            first(classes).getMethod("main", String[].class).invoke(null, (Object) arguments.toArray(new String[0]));
        } catch (InvocationTargetException thrown) {
            if (!(thrown.getCause() instanceof Exited)) {
                // As a virtual machine does that nobody catches this for.
                System.err.print("Exception in thread \"main\" ");
                thrown.getCause().printStackTrace();
                captured.end(1);
            }
        } catch (ReflectiveOperationException unknown) {
            System.err.println(unknown);
            captured.end(1);
        }
    }

    private static Class<?> first(List<String> classes) throws ClassNotFoundException {
        ClassNotFoundException last = new ClassNotFoundException("no class was named");
        for (String name : classes) {
            try {
                return Class.forName(name);
            } catch (ClassNotFoundException absent) {
                last = absent;
            }
        }
        throw last;
    }

    private static List<String> texts(JsonNode array) {
        List<String> texts = new ArrayList<>();
        array.forEach(element -> texts.add(element.asText()));
        return texts;
    }

    /** What libraries log about themselves is no tool's output. Kafka 3 brings Log4j 1, Kafka 4 no logger at all. */
    private static void quietLogging() {
        try {
            Object root = Class.forName("org.apache.log4j.Logger").getMethod("getRootLogger").invoke(null);
            Class<?> level = Class.forName("org.apache.log4j.Level");
            root.getClass().getMethod("setLevel", level).invoke(root, level.getField("OFF").get(null));
        } catch (ReflectiveOperationException absent) {
            // Not this line.
        }
        // Says that there is no logger, once, and here it is dropped.
        org.slf4j.LoggerFactory.getLogger(KafkaTool.class);
    }
}
