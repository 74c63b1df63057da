"""Values of the wrong type, without a unit, out of range, or against each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

# The promise: a file, and the exact words of its mistakes.
CASES = {
    "a list is not text": (
        """\
sources:
  s: {type: redis-pubsub, url: redis://localhost, channels: signups}
""",
        """\
bridge.yaml:2:61: sources.s.channels: takes a list, not text; as in channels: [signups]
      s: {type: redis-pubsub, url: redis://localhost, channels: signups}
                                                                ^
""",
    ),
    "text is not a list": (
        """\
sources:
  orders: {type: amqp, url: amqp://localhost/, queue: [orders]}
""",
        """\
bridge.yaml:2:55: sources.orders.queue: takes text, not a list
      orders: {type: amqp, url: amqp://localhost/, queue: [orders]}
                                                          ^
""",
    ),
    "a number where text belongs has to be quoted": (
        """\
sources:
  orders: {type: amqp, url: amqp://localhost/, queue: 7}
""",
        """\
bridge.yaml:2:55: sources.orders.queue: takes text, not a number; quote it
      orders: {type: amqp, url: amqp://localhost/, queue: 7}
                                                          ^
""",
    ),
    "quoted digits are no number": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost, qos: 1, window: {events: "10"}}
""",
        """\
bridge.yaml:2:71: sources.plant.window.events: takes a whole number, not text; write it without quotes
      plant: {type: mqtt, url: mqtt://localhost, qos: 1, window: {events: "10"}}
                                                                          ^
""",
    ),
    "a number out of range says the range": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost, window: {events: 70000}}
""",
        """\
bridge.yaml:2:63: sources.plant.window.events: takes a number up to 65535
      plant: {type: mqtt, url: mqtt://localhost, window: {events: 70000}}
                                                                  ^
""",
    ),
    "a choice lists the choices": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost, qos: 2, decode: jsn}
""",
        """\
bridge.yaml:2:51: sources.plant.qos: takes 0 or 1
      plant: {type: mqtt, url: mqtt://localhost, qos: 2, decode: jsn}
                                                      ^
bridge.yaml:2:62: sources.plant.decode: takes json, text, msgpack, cbor, bytes, auto, json-or-text, form or ndjson; did you mean 'json'?
      plant: {type: mqtt, url: mqtt://localhost, qos: 2, decode: jsn}
                                                                 ^
""",
    ),
    "a bare number is no duration": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
drain_timeout: 30
""",
        """\
bridge.yaml:3:16: drain_timeout: takes a duration such as 30s, 5m; a bare number has no unit
    drain_timeout: 30
                   ^
""",
    ),
    "a bare number is no size": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost, max_body: 65536}
""",
        """\
bridge.yaml:2:56: sources.plant.max_body: takes a size such as 256KiB, 16MiB; a bare number has no unit
      plant: {type: mqtt, url: mqtt://localhost, max_body: 65536}
                                                           ^
""",
    ),
    "an unknown unit lists the units": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
drain_timeout: 30sec
""",
        """\
bridge.yaml:3:16: drain_timeout: takes a duration such as 30s, 5m; a whole number and one of the units ms, s, m, h, d
    drain_timeout: 30sec
                   ^
""",
    ),
    "a unit of ten to the third lists the units of two to the tenth": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost, max_body: 64KB}
""",
        """\
bridge.yaml:2:56: sources.plant.max_body: takes a size such as 256KiB, 16MiB; a whole number and one of the units B, KiB, MiB, GiB
      plant: {type: mqtt, url: mqtt://localhost, max_body: 64KB}
                                                           ^
""",
    ),
    "a heartbeat below a second cannot be told to the broker": (
        """\
sources:
  orders: {type: amqp, url: amqp://localhost/, queue: o, heartbeat: 500ms}
""",
        """\
bridge.yaml:2:69: sources.orders.heartbeat: takes a duration of at least 1s
      orders: {type: amqp, url: amqp://localhost/, queue: o, heartbeat: 500ms}
                                                                        ^
""",
    ),
    "a section is a mapping": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
log: debug
""",
        """\
bridge.yaml:3:6: log: takes a mapping, not text; as in log: {level: debug}
    log: debug
         ^
""",
    ),
    "a section that is empty is not a mapping": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
""",
        """\
bridge.yaml:3:8: routes: takes a list, not null; as in routes: [{from: orders, actor: reserve_stock, args: [$payload.id]}]
    routes:
           ^
""",
    ),
    "a URL has one of the protocol's schemes": (
        """\
sources:
  plant: {type: mqtt, url: http://localhost}
""",
        """\
bridge.yaml:2:28: sources.plant.url: takes a URL that begins with mqtt:// or mqtts://
      plant: {type: mqtt, url: http://localhost}
                               ^
""",
    ),
    "a URL names a host": (
        """\
sources:
  plant: {type: mqtt, url: "mqtt://:1883"}
""",
        """\
bridge.yaml:2:28: sources.plant.url: this URL names no host; as in mqtt://localhost
      plant: {type: mqtt, url: "mqtt://:1883"}
                               ^
""",
    ),
    "a URL has no options of TLS": (
        """\
dramatiq: {url: "rediss://localhost/0?ssl_cert_reqs=none"}
sources:
  orders: {type: amqp, url: "amqps://localhost/?cafile=ca.pem", queue: q}
""",
        """\
bridge.yaml:1:17: dramatiq.url: TLS is set beside the URL, not in it; as in tls: {ca: FILE, verify: true}
    dramatiq: {url: "rediss://localhost/0?ssl_cert_reqs=none"}
                    ^
bridge.yaml:3:29: sources.orders.url: TLS is set beside the URL, not in it; as in tls: {ca: FILE, verify: true}
      orders: {type: amqp, url: "amqps://localhost/?cafile=***", queue: q}
                                ^
""",
    ),
    "a URL's port is a number": (
        """\
sources:
  plant: {type: mqtt, url: "mqtt://localhost:secure"}
""",
        """\
bridge.yaml:2:28: sources.plant.url: the host or the port of this URL cannot be read; percent-encode a special character of the password, or write password: beside url:
      plant: {type: mqtt, url: "mqtt://localhost:secure"}
                               ^
""",
    ),
    "credentials stand in one place": (
        """\
sources:
  plant:
    type: mqtt
    url: mqtt://me:hunter2@localhost
    username: me
    password: hunter2
""",
        """\
bridge.yaml:5:15: sources.plant.username: the URL has a username too; write one of them
        username: ***
                  ^
bridge.yaml:6:15: sources.plant.password: the URL has a password too; write one of them
        password: ***
                  ^
""",
    ),
    "tls needs a scheme with TLS": (
        """\
sources:
  plant:
    type: mqtt
    url: mqtt://localhost
    tls: {ca: ca.pem}
""",
        """\
bridge.yaml:5:5: sources.plant.tls: mqtt:// is a connection without TLS; write mqtts:// in the URL, or remove tls
        tls: {ca: ca.pem}
        ^
""",
    ),
    "a certificate needs its key": (
        """\
sources:
  plant:
    type: mqtt
    url: mqtts://localhost
    tls: {cert: me.pem}
""",
        """\
bridge.yaml:5:5: sources.plant.tls: a certificate needs its key, and a key its certificate; set both; they may be the same file
        tls: {cert: me.pem}
        ^
""",
    ),
    "a subscriber to nothing is a mistake": (
        """\
sources:
  s:
    type: redis-pubsub
    url: redis://localhost
""",
        """\
bridge.yaml:2:3: sources.s: this source subscribes to nothing; add channels or patterns
      s:
      ^
""",
    ),
    "a stream source names a stream": (
        """\
sources:
  s: {type: redis-stream, url: redis://localhost, streams: [], group: g}
""",
        """\
bridge.yaml:2:60: sources.s.streams: takes at least one entry
      s: {type: redis-stream, url: redis://localhost, streams: [], group: g}
                                                               ^
""",
    ),
    "a session is kept for a fixed client only": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost, session_expiry: 1h}
""",
        """\
bridge.yaml:2:62: sources.plant.session_expiry: a session is kept for a fixed client only; add client_id
      plant: {type: mqtt, url: mqtt://localhost, session_expiry: 1h}
                                                                 ^
""",
    ),
    "a version of MQTT is one that there is": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost, version: 3.1}
""",
        """\
bridge.yaml:2:55: sources.plant.version: takes 5 or 3.1.1; did you mean '3.1.1'?
      plant: {type: mqtt, url: mqtt://localhost, version: 3.1}
                                                          ^
""",
    ),
    "a namespace has no spaces": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
dramatiq: {namespace: my tasks}
""",
        """\
bridge.yaml:3:23: dramatiq.namespace: takes text without spaces; as the workers have it; usually dramatiq
    dramatiq: {namespace: my tasks}
                          ^
""",
    ),
    "a name that TLS can't ask for is no name of a server": (
        """\
sources:
  a: {type: amqp, url: amqps://localhost, queue: q, tls: {server_name: .example.com}}
  b: {type: redis-pubsub, url: rediss://localhost, channels: [c], tls: {server_name: a..b}}
  c: {type: mqtt, url: mqtts://localhost, tls: {server_name: "a\\0b"}}
dramatiq: {url: rediss://localhost, tls: {server_name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}}
""",
        """\
bridge.yaml:2:72: sources.a.tls.server_name: takes the name of a host; as in broker.example.com
      a: {type: amqp, url: amqps://localhost, queue: q, tls: {server_name: .example.com}}
                                                                           ^
bridge.yaml:3:86: sources.b.tls.server_name: takes the name of a host; as in broker.example.com
      b: {type: redis-pubsub, url: rediss://localhost, channels: [c], tls: {server_name: a..b}}
                                                                                         ^
bridge.yaml:4:62: sources.c.tls.server_name: takes the name of a host; as in broker.example.com
      c: {type: mqtt, url: mqtts://localhost, tls: {server_name: "a\\0b"}}
                                                                 ^
bridge.yaml:5:56: dramatiq.tls.server_name: takes the name of a host; as in broker.example.com
    dramatiq: {url: rediss://localhost, tls: {server_name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}}
                                                           ^
""",
    ),
    "a bound of queues is a number, or one for each": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
dramatiq: {max_queue_depth: 10k}
""",
        """\
bridge.yaml:3:29: dramatiq.max_queue_depth: takes a whole number, not text; or a mapping of queues, as in {alarms: 5000, "*": 100000}
    dramatiq: {max_queue_depth: 10k}
                                ^
""",
    ),
    "every wrong bound of a queue is placed": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
dramatiq:
  max_queue_depth:
    alarms: 0
    mail: 1.5
    mail.DQ: 5
    "*": true
""",
        """\
bridge.yaml:5:13: dramatiq.max_queue_depth.alarms: takes a number from 1
        alarms: 0
                ^
bridge.yaml:6:11: dramatiq.max_queue_depth.mail: takes a whole number, not a fraction
        mail: 1.5
              ^
bridge.yaml:7:5: dramatiq.max_queue_depth['mail.DQ']: a queue's name is letters, digits, _ and -, and begins with a letter or _; \
other names, such as x.DQ, damage Dramatiq's own keys
        mail.DQ: 5
        ^
bridge.yaml:8:10: dramatiq.max_queue_depth['*']: takes a whole number, not true or false
        "*": true
             ^
""",
    ),
    "a share has its unit": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
dramatiq: {max_memory: 80}
""",
        """\
bridge.yaml:3:24: dramatiq.max_memory: takes a share such as 80%; a bare number has no unit
    dramatiq: {max_memory: 80}
                           ^
""",
    ),
    "a share is at most the whole": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
dramatiq: {max_memory: 120%}
""",
        """\
bridge.yaml:3:24: dramatiq.max_memory: takes a share such as 80%; a whole number from 1 to 100, and %
    dramatiq: {max_memory: 120%}
                           ^
""",
    ),
    "a share is no truth": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
dramatiq: {max_memory: false}
""",
        """\
bridge.yaml:3:24: dramatiq.max_memory: takes a share such as 80%, not true or false
    dramatiq: {max_memory: false}
                           ^
""",
    ),
    "a form of traces has a name": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
tracing: {propagate: [w3, otel], baggage: maybe}
""",
        """\
bridge.yaml:3:23: tracing.propagate[0]: takes w3c, sentry or otel-instrumentor; did you mean 'w3c'?
    tracing: {propagate: [w3, otel], baggage: maybe}
                          ^
bridge.yaml:3:27: tracing.propagate[1]: takes w3c, sentry or otel-instrumentor
    tracing: {propagate: [w3, otel], baggage: maybe}
                              ^
bridge.yaml:3:43: tracing.baggage: takes true or false, not text
    tracing: {propagate: [w3, otel], baggage: maybe}
                                              ^
""",
    ),
    "a form of traces is written once": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
tracing: {propagate: [w3c, w3c]}
""",
        """\
bridge.yaml:3:22: tracing.propagate: names a form twice; each form is written once into a message
    tracing: {propagate: [w3c, w3c]}
                         ^
""",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_placed_and_explained(case: str, mistakes: Callable[[str], str]) -> None:
    """A mistake is reported with file, line, column, path, message, remedy, and a caret."""
    text, expected = CASES[case]
    assert mistakes(text) == expected
