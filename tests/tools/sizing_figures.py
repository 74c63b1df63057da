"""Two reports with round figures, in the form of bench/results.md and bench/scaling.md: what follows from them is known."""

from __future__ import annotations

from typing import Final

RESULTS: Final = """\
# Benchmark

## Throughput

| source       | contestant | events/s | CPU s/100k |                            brokers' CPU s/100k | bridge is faster x |
|--------------|------------|---------:|-----------:|-----------------------------------------------:|-------------------:|
| amqp         | bridge     |   40,000 |       0.80 | rabbitmq-server 2.00, redis-server (sink) 0.40 |                1.0 |
| amqp         | script     |    2,000 |      32.00 | rabbitmq-server 9.00, redis-server (sink) 6.00 |               20.0 |
| mqtt         | bridge     |  100,000 |       0.50 |       mosquitto 0.50, redis-server (sink) 0.30 |                1.0 |
| redis-stream | bridge     |  150,000 |       0.50 |                              redis-server 0.50 |                1.0 |
| redis-pubsub | bridge     |  150,000 |       0.50 |    redis-server 0.01, redis-server (sink) 0.30 |                1.0 |

## Machine and versions

- 2026-11-27 06:09 UTC; 2 cores, AMD EPYC; Linux-6
- load of the machine at the end: 0.7
- Python 3.11.7, dramatiq-bridge 0.1.0 at 8ad3761
"""

SCALING: Final = """\
# Scaling

## Growth

| grows   | source       | number | bridge | broker | Redis | events/s |
|---------|--------------|-------:|-------:|-------:|------:|---------:|
| sources | mqtt         |      1 |   0.50 |   0.50 |  0.30 |  100,000 |
| sources | mqtt         |     50 |   1.00 |   0.50 |  0.60 |  100,000 |
| bytes   | redis-stream |    210 |   0.50 |   0.50 |  0.50 |  100,000 |
| bytes   | redis-stream |  8,192 |   1.50 |   1.00 |  1.00 |   50,000 |

## Filtering

| source | one in | bridge | broker | Redis |
|--------|-------:|-------:|-------:|------:|
| mqtt   |      1 |   0.50 |   0.50 |  0.30 |
| mqtt   |    100 |   0.40 |   0.50 |  0.07 |

## Workers

One process with 8 threads.

| processes | Redis | worker |
|-----------|------:|-------:|
| 1         |  3.00 |  15.00 |
| 4         |  3.60 |  16.00 |

Idle:

| queues | Redis | worker |
|--------|------:|-------:|
| 1      |  0.10 |   0.20 |
| 50     |  1.00 |   3.00 |

## Low rates

| source       | events/s | bridge | broker | Redis |
|--------------|---------:|-------:|-------:|------:|
| amqp         |       10 |    800 |  1,200 |   300 |
| amqp         |    1,000 |    200 |    300 |   100 |
| amqp         |   10,000 |     40 |     60 |    20 |
| mqtt         |       10 |  1,000 |    200 |   400 |
| mqtt         |    1,000 |    200 |     50 |    70 |
| mqtt         |   10,000 |     50 |     20 |    10 |
| redis-stream |       10 |    800 |    500 |   500 |
| redis-stream |    1,000 |    200 |    100 |   100 |
| redis-stream |   10,000 |     50 |     20 |    20 |

| source | sources | bridge | broker | Redis | MiB |
|--------|--------:|-------:|-------:|------:|----:|
| mqtt   |       1 |   0.10 |   0.02 |  0.10 |  64 |

Measured 2026-11-28 12:00 UTC; load of the machine at the end: 0.4

## Distance

| source | far away | round trip ms | events/s |
|--------|----------|--------------:|---------:|
| amqp   | broker   |            10 |   50,000 |
| amqp   | Redis    |            50 |    4,500 |
| mqtt   | Redis    |            50 |    4,400 |

## Footprint

| one                                               |      bytes |
|---------------------------------------------------|-----------:|
| waiting message, five values                      |        500 |
| waiting message, the whole payload of 1,024 bytes |      1,400 |
| remembered key, deduplicate                       |        200 |
| remembered id, stream in another Redis            |        200 |
| dead letter                                       |        450 |
| bridge with one source and one route              | 67,108,864 |
| event on the wire, mqtt broker to bridge          |        250 |
| event on the wire, amqp broker to bridge          |        300 |
| event on the wire, bridge to Redis                |        350 |
| spooled event on disk                             |        250 |
"""
