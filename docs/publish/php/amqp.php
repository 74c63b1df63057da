<?php
// Wait for the confirmation, and set mandatory: without both, an event that no queue takes is dropped in silence.
require __DIR__ . '/vendor/autoload.php';

use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Message\AMQPMessage;

$event = ['id' => 'order-4711', 'total' => 129];

$broker = parse_url(getenv('AMQP_URL') ?: 'amqp://guest:guest@127.0.0.1:5672');
$connection = new AMQPStreamConnection($broker['host'], $broker['port'], $broker['user'], $broker['pass']);
$channel = $connection->channel();
$channel->confirm_select();
$refused = null;
$channel->set_return_listener(function ($code, $text) use (&$refused) { $refused = $text; });
$channel->set_nack_handler(function () use (&$refused) { $refused = 'for example by a full queue'; });
$message = new AMQPMessage(json_encode($event), [
    'message_id' => 'order-4711', // the event's own: published again, it is known
    'content_type' => 'application/json',
    'delivery_mode' => AMQPMessage::DELIVERY_MODE_PERSISTENT,
]);
$channel->basic_publish($message, '', 'orders', true); // true: mandatory
$channel->wait_for_pending_acks_returns(10);
$connection->close();
if ($refused !== null) {
    fwrite(STDERR, "refused: $refused\n");
    exit(1);
}
