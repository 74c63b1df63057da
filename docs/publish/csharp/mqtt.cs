#:package MQTTnet@5.*
// Publish at QoS 1, and read the PUBACK: at QoS 0 nobody says that an event is lost, and 0x10 says that nobody gets it.
using MQTTnet;
using MQTTnet.Formatter;
using MQTTnet.Protocol;

var body = """{"id": "order-4711", "total": 129}"""; // the id is the event's own: published again, it is known

using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(10));
var broker = new Uri(Environment.GetEnvironmentVariable("MQTT_URL") ?? "mqtt://127.0.0.1:1883");
using var client = new MqttClientFactory().CreateMqttClient();
var options = new MqttClientOptionsBuilder()
    .WithTcpServer(broker.Host, broker.Port)
    .WithProtocolVersion(MqttProtocolVersion.V500)
    .Build();
await client.ConnectAsync(options, timeout.Token);
var message = new MqttApplicationMessageBuilder()
    .WithTopic("shop/orders")
    .WithPayload(body)
    .WithQualityOfServiceLevel(MqttQualityOfServiceLevel.AtLeastOnce)
    .Build();
var answer = await client.PublishAsync(message, timeout.Token);
await client.DisconnectAsync(new MqttClientDisconnectOptions(), timeout.Token);
// IsSuccess would be true for NoMatchingSubscribers as well.
if (answer.ReasonCode != MqttClientPublishReasonCode.Success)
{
    Console.Error.WriteLine($"refused: {answer.ReasonCode}");
    return 1;
}
return 0;
