import java.io.IOException;
import java.util.HashMap;
import java.util.Map;

/** Challenge 1: sends back what it is sent. */
public final class Echo {
    public static void main(String[] arguments) throws IOException {
        Node node = new Node();
        node.on("echo", message -> {
            Map<String, Object> answer = new HashMap<>();
            answer.put("type", "echo_ok");
            answer.put("echo", message.body().get("echo"));
            node.reply(message, answer);
        });
        node.run();
    }
}
