// Wait for the confirmation, and set mandatory: without both, an event that no queue takes is dropped in silence.
import amqp from "amqplib";

const event = { id: "order-4711", total: 129 };

setTimeout(() => process.exit(1), 10_000).unref(); // amqplib waits for ever
const connection = await amqp.connect(process.env.AMQP_URL ?? "amqp://127.0.0.1");
const channel = await connection.createConfirmChannel();
let returned = false;
channel.on("return", () => { returned = true; }); // it comes before the confirmation
channel.publish("", "orders", Buffer.from(JSON.stringify(event)), {
  messageId: "order-4711", // the event's own: published again, it is known
  contentType: "application/json",
  persistent: true,
  mandatory: true,
});
await channel.waitForConfirms(); // an event that is refused throws
await connection.close();
if (returned) throw new Error("refused: no queue has taken it");
