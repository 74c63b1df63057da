<?php
// Bound the stream, above all that can come while the bridge is away: MAXLEN also trims entries that nobody has read.
require __DIR__ . '/vendor/autoload.php';

$event = ['id' => 'order-4711', 'total' => 129];

$client = new Predis\Client(getenv('REDIS_URL') ?: 'redis://127.0.0.1:6379');
// NOMKSTREAM: a stream that no bridge has made, such as one with a typing error, is not made here.
$command = ['XADD', 'orders', 'NOMKSTREAM', 'MAXLEN', '~', '1000000', '*', 'data', json_encode($event)];
$entry = $client->executeRaw($command, $isError);
if ($isError || $entry === null) {
    fwrite(STDERR, 'refused: ' . ($entry ?? 'there is no stream `orders`') . "\n");
    exit(1);
}
