import io.moquette.broker.Server;
import io.moquette.broker.config.MemoryConfig;
import java.util.Properties;

/** Moquette inside this process: {@code Moquette PORT DIRECTORY}. */
public final class Moquette {
  public static void main(String[] arguments) throws Exception {
    Properties properties = new Properties();
    properties.setProperty("host", "127.0.0.1");
    properties.setProperty("port", arguments[0]);
    properties.setProperty("data_path", arguments[1]);
    properties.setProperty("persistence_enabled", "true");
    properties.setProperty("allow_anonymous", "true");
    properties.setProperty("telemetry_enabled", "false");
    properties.setProperty("netty.mqtt.message_size", "2097152");
    Server broker = new Server();
    Runtime.getRuntime().addShutdownHook(new Thread(broker::stopServer));
    broker.startServer(new MemoryConfig(properties));
    System.out.println("started");
    Thread.currentThread().join();
  }
}
