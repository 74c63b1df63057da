// Publish at QoS 1, and read the PUBACK: at QoS 0 nobody says that an event is lost, and 0x10 says that nobody gets it.
import mqtt from "mqtt";

const event = { id: "order-4711", total: 129 }; // the id is the event's own: published again, it is known

setTimeout(() => process.exit(1), 10_000).unref(); // mqtt.js waits for ever
const client = await mqtt.connectAsync(process.env.MQTT_URL ?? "mqtt://127.0.0.1:1883", { protocolVersion: 5 }, false);
let reason;
client.on("packetreceive", (packet) => {
  if (packet.cmd === "puback") reason = packet.reasonCode ?? 0;
});
await client.publishAsync("shop/orders", JSON.stringify(event), { qos: 1 });
await client.endAsync();
if (reason !== 0) throw new Error(`refused: ${reason}`);
