import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/**
 * A node that speaks line JSON on stdin and stdout (the protocol of Maelstrom), in one file and one
 * thread. Bodies are maps, lists, strings, numbers (Long or Double), booleans and null.
 *
 * <p>Time and chance come from the service "clock", so that a run in the simulator is repeated by
 * its seed. Maelstrom has no such service.
 */
public final class Node {
    /** What came: from whom, and what it says. */
    public record Message(String src, Map<String, Object> body) {
        /** Its type. */
        public String type() {
            return (String) body.get("type");
        }
    }

    private final Map<String, Consumer<Message>> handlers = new HashMap<>();
    private final Map<Long, Consumer<Map<String, Object>>> callbacks = new HashMap<>();
    private final ArrayDeque<Runnable> started = new ArrayDeque<>();
    private String id;
    private List<String> ids = List.of();
    private long lastId;

    /** This node's name, once init has come. */
    public String id() {
        return id;
    }

    /** The names of all nodes. */
    public List<String> ids() {
        return ids;
    }

    /** Has messages of this type handled. */
    public void on(String type, Consumer<Message> handler) {
        handlers.put(type, handler);
    }

    /** Runs this when init has come. */
    public void start(Runnable call) {
        started.add(call);
    }

    /** Sends, and forgets. */
    public void send(String dest, Map<String, ?> body) {
        Map<String, Object> message = new LinkedHashMap<>();
        message.put("src", id);
        message.put("dest", dest);
        message.put("body", body);
        StringBuilder line = new StringBuilder();
        Json.write(message, line);
        line.append('\n');
        byte[] bytes = line.toString().getBytes(java.nio.charset.StandardCharsets.UTF_8);
        System.out.write(bytes, 0, bytes.length);
        System.out.flush();
    }

    /** Answers a message. */
    public void reply(Message message, Map<String, ?> body) {
        Map<String, Object> answer = new LinkedHashMap<>(body);
        answer.put("in_reply_to", message.body().get("msg_id"));
        send(message.src(), answer);
    }

    /** Sends, and calls {@code done} with the body of the first answer. */
    public void rpc(String dest, Map<String, ?> body, Consumer<Map<String, Object>> done) {
        Map<String, Object> named = new LinkedHashMap<>(body);
        named.put("msg_id", ++lastId);
        callbacks.put(lastId, done);
        send(dest, named);
    }

    /** Calls once, so many milliseconds from now. */
    public void after(long millis, Runnable call) {
        rpc("clock", Map.of("type", "sleep", "ms", millis), body -> call.run());
    }

    /** Calls again and again, so many milliseconds apart, once init has come. */
    public void every(long millis, Runnable call) {
        Runnable again = () -> {
            every(millis, call);
            call.run();
        };
        if (id == null) {
            start(() -> after(millis, again));
        } else {
            after(millis, again);
        }
    }

    /** Calls with the time of day, in nanoseconds since 1970. */
    public void now(Consumer<Long> done) {
        rpc("clock", Map.of("type", "now"), body -> done.accept((Long) body.get("ns")));
    }

    /** Calls with a number that the seed draws: 64 bits, a sign among them. */
    public void random(Consumer<Long> done) {
        rpc("clock", Map.of("type", "random"),
            body -> done.accept(((Number) body.get("value")).longValue()));
    }

    /** Goes on until stdin ends. */
    public void run() throws IOException {
        var input = new BufferedReader(
            new InputStreamReader(System.in, java.nio.charset.StandardCharsets.UTF_8));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            Map<String, Object> message = Json.object(Json.read(line));
            hear(new Message((String) message.get("src"), Json.object(message.get("body"))));
        }
    }

    private void hear(Message message) {
        Object answers = message.body().get("in_reply_to");
        if (answers != null) {
            Consumer<Map<String, Object>> done = callbacks.remove(answers);
            if (done != null) {  // a second answer has none that waits
                done.accept(message.body());
            }
        } else if (message.type().equals("init")) {
            id = (String) message.body().get("node_id");
            ids = new ArrayList<>();
            ((List<?>) message.body().get("node_ids")).forEach(one -> ids.add((String) one));
            reply(message, Map.of("type", "init_ok"));
            started.forEach(Runnable::run);
        } else if (handlers.containsKey(message.type())) {
            handlers.get(message.type()).accept(message);
        } else if (id != null) {
            reply(message, Map.of("type", "error", "code", 10L,
                "text", message.type() + " is not known here"));
        }
    }

    /** JSON, as far as messages need it. */
    static final class Json {
        private final String text;
        private int at;

        private Json(String text) {
            this.text = text;
        }

        static Object read(String text) {
            Json json = new Json(text);
            Object value = json.value();
            if (json.next() != 0) {
                throw json.wrong();
            }
            return value;
        }

        @SuppressWarnings("unchecked")
        static Map<String, Object> object(Object value) {
            return (Map<String, Object>) value;
        }

        private IllegalArgumentException wrong() {
            return new IllegalArgumentException("no JSON at " + at + ": " + text);
        }

        /** The next character that is no space, which is not taken; 0 at the end. */
        private char next() {
            while (at < text.length() && text.charAt(at) <= ' ') {
                at++;
            }
            return at < text.length() ? text.charAt(at) : 0;
        }

        private boolean take(char wanted) {
            boolean is = next() == wanted;
            at += is ? 1 : 0;
            return is;
        }

        private void expect(char wanted) {
            if (!take(wanted)) {
                throw wrong();
            }
        }

        private Object value() {
            switch (next()) {
                case '{':
                    at++;
                    Map<String, Object> object = new LinkedHashMap<>();
                    while (!take('}')) {
                        next();
                        String key = string();
                        expect(':');
                        object.put(key, value());
                        if (!take(',') && next() != '}') {
                            throw wrong();
                        }
                    }
                    return object;
                case '[':
                    at++;
                    List<Object> list = new ArrayList<>();
                    while (!take(']')) {
                        list.add(value());
                        if (!take(',') && next() != ']') {
                            throw wrong();
                        }
                    }
                    return list;
                case '"':
                    return string();
                default:
                    return word();
            }
        }

        private Object word() {
            int from = at;
            while (at < text.length() && ",]} \t\r".indexOf(text.charAt(at)) < 0) {
                at++;
            }
            String word = text.substring(from, at);
            switch (word) {
                case "null":
                    return null;
                case "true", "false":
                    return word.equals("true");
                default:
                    boolean whole = word.chars().noneMatch(one -> ".eE".indexOf(one) >= 0);
                    // What a long has no room for is a number of 64 bits without a sign.
                    return !whole ? (Object) Double.valueOf(word)
                        : word.startsWith("-") ? (Object) Long.valueOf(word)
                        : (Object) Long.parseUnsignedLong(word);
            }
        }

        private String string() {
            expect('"');
            StringBuilder out = new StringBuilder();
            while (text.charAt(at) != '"') {
                char one = text.charAt(at++);
                if (one != '\\') {
                    out.append(one);
                    continue;
                }
                char escaped = text.charAt(at++);
                int place = "nrtbf".indexOf(escaped);
                if (escaped == 'u') {
                    out.append((char) Integer.parseInt(text.substring(at, at + 4), 16));
                    at += 4;
                } else {
                    out.append(place < 0 ? escaped : "\n\r\t\b\f".charAt(place));
                }
            }
            at++;
            return out.toString();
        }

        static void write(Object value, StringBuilder out) {
            if (value instanceof Map<?, ?> object) {
                char between = '{';
                for (var entry : object.entrySet()) {
                    out.append(between);
                    write(entry.getKey(), out);
                    out.append(':');
                    write(entry.getValue(), out);
                    between = ',';
                }
                out.append(object.isEmpty() ? "{}" : "}");
            } else if (value instanceof List<?> list) {
                char between = '[';
                for (Object one : list) {
                    out.append(between);
                    write(one, out);
                    between = ',';
                }
                out.append(list.isEmpty() ? "[]" : "]");
            } else if (value instanceof String string) {
                out.append('"');
                for (char one : string.toCharArray()) {
                    if (one == '"' || one == '\\') {
                        out.append('\\').append(one);
                    } else if (one < ' ') {
                        out.append(String.format("\\u%04x", (int) one));
                    } else {
                        out.append(one);
                    }
                }
                out.append('"');
            } else {
                out.append(value);
            }
        }
    }
}
