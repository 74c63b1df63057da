<?php
// Publish at QoS 1, and wait for the PUBACK: at QoS 0 nobody says that an event is lost.
require __DIR__ . '/vendor/autoload.php';

use PhpMqtt\Client\MqttClient;
use PhpMqtt\Client\Repositories\MemoryRepository;

$event = ['id' => 'order-4711', 'total' => 129]; // the id is the event's own: published again, it is known

$broker = parse_url(getenv('MQTT_URL') ?: 'mqtt://127.0.0.1:1883');
$unconfirmed = new MemoryRepository();
$client = new MqttClient($broker['host'], $broker['port'], null, MqttClient::MQTT_3_1_1, $unconfirmed);
$client->connect(null, true);
$client->publish('shop/orders', json_encode($event), MqttClient::QOS_AT_LEAST_ONCE);
$client->loop(true, true, 10);
$refused = $unconfirmed->countPendingOutgoingMessages() > 0;
$client->disconnect();
if ($refused) {
    fwrite(STDERR, "no confirmation within 10 s\n");
    exit(1);
}
