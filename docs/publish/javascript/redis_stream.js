// Bound the stream, above all that can come while the bridge is away: MAXLEN also trims entries that nobody has read.
import { createClient } from "redis";

const event = { id: "order-4711", total: 129 };

const url = process.env.REDIS_URL ?? "redis://127.0.0.1:6379";
const client = await createClient({ url, socket: { reconnectStrategy: false } }).connect();
// A stream that no bridge has made, such as one with a typing error, is not made here.
const entry = await client.xAddNoMkStream("orders", "*", { data: JSON.stringify(event) }, {
  TRIM: { strategy: "MAXLEN", strategyModifier: "~", threshold: 1_000_000 },
});
client.destroy();
if (entry === null) throw new Error("refused: there is no stream `orders`");
