#:package StackExchange.Redis@2.*
// Bound the stream, above all that can come while the bridge is away: MAXLEN also trims entries that nobody has read.
using StackExchange.Redis;

var body = """{"id": "order-4711", "total": 129}""";

var server = new Uri(Environment.GetEnvironmentVariable("REDIS_URL") ?? "redis://127.0.0.1:6379");
await using var client = await ConnectionMultiplexer.ConnectAsync($"{server.Host}:{server.Port}");
// NOMKSTREAM: a stream that no bridge has made, such as one with a typing error, is not made here.
var entry = await client.GetDatabase().ExecuteAsync(
    "XADD", "orders", "NOMKSTREAM", "MAXLEN", "~", 1_000_000, "*", "data", body);
if (entry.IsNull)
{
    Console.Error.WriteLine("refused: there is no stream `orders`");
    return 1;
}
return 0;
