#:package RabbitMQ.Client@7.*
// Wait for the confirmation, and set mandatory: without both, an event that no queue takes is dropped in silence.
using RabbitMQ.Client;

var body = """{"id": "order-4711", "total": 129}"""u8.ToArray();

using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(10));
var url = Environment.GetEnvironmentVariable("AMQP_URL") ?? "amqp://127.0.0.1";
var factory = new ConnectionFactory { Uri = new Uri(url) };
await using var connection = await factory.CreateConnectionAsync(timeout.Token);
var confirms = new CreateChannelOptions(
    publisherConfirmationsEnabled: true, publisherConfirmationTrackingEnabled: true);
await using var channel = await connection.CreateChannelAsync(confirms, timeout.Token);
var properties = new BasicProperties
{
    MessageId = "order-4711", // the event's own: published again, it is known
    ContentType = "application/json",
    Persistent = true,
};
// With tracking it waits for the confirmation; an event that is refused or returned throws PublishException.
await channel.BasicPublishAsync("", "orders", mandatory: true, properties, body, timeout.Token);
