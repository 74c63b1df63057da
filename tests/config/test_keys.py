"""Unknown, missing and misspelt keys and names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

# The promise: a file, and the exact words of its mistakes.
CASES = {
    "an unknown key comes with the one that was meant": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    tpic: a/b
""",
        """\
bridge.yaml:6:5: routes[0].tpic: unknown key 'tpic'; did you mean 'topic'?
        tpic: a/b
        ^
""",
    ),
    "an unknown key comes with the known ones where nothing is near": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
log: {colour: red}
""",
        """\
bridge.yaml:3:7: log.colour: unknown key 'colour'; known keys: format, level
    log: {colour: red}
          ^
""",
    ),
    "a word of another program's is translated": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - source: plant
    actor: act
""",
        """\
bridge.yaml:4:5: routes[0]: the key 'from' is missing; add from: name of a source
      - source: plant
        ^
bridge.yaml:4:5: routes[0].source: unknown key 'source'; it is called from here
      - source: plant
        ^
""",
    ),
    "the file is a mapping": (
        """\
- sources
""",
        """\
bridge.yaml:1:1: takes a mapping, not a list
    - sources
    ^
""",
    ),
    "a configuration without sources says so": (
        """\
routes: []
""",
        """\
bridge.yaml:1:1: the key 'sources' is missing; add sources; a file that another one includes is checked through that one
    routes: []
    ^
""",
    ),
    "a missing key is reported at what lacks it": (
        """\
sources:
  orders:
    type: amqp
    url: amqp://localhost/
""",
        """\
bridge.yaml:2:3: sources.orders: the key 'queue' is missing; add queue: queue to consume
      orders:
      ^
""",
    ),
    "a missing actor is reported at its route": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
""",
        """\
bridge.yaml:4:5: routes[0]: the key 'actor' is missing; add actor: actor to call
      - from: plant
        ^
""",
    ),
    "a source without a type lists the types": (
        """\
sources:
  plant: {url: mqtt://localhost}
""",
        """\
bridge.yaml:2:3: sources.plant: the key 'type' is missing; add type: amqp, mqtt, redis-pubsub or redis-stream
      plant: {url: mqtt://localhost}
      ^
""",
    ),
    "an unknown type comes with the nearest": (
        """\
sources:
  plant: {type: mqqt, url: mqtt://localhost}
""",
        """\
bridge.yaml:2:17: sources.plant.type: unknown type 'mqqt'; did you mean 'mqtt'?
      plant: {type: mqqt, url: mqtt://localhost}
                    ^
""",
    ),
    "an unknown type lists the types where nothing is near": (
        """\
sources:
  plant: {type: kafka, url: mqtt://localhost}
""",
        """\
bridge.yaml:2:17: sources.plant.type: unknown type 'kafka'; it is one of amqp, mqtt, redis-pubsub or redis-stream
      plant: {type: kafka, url: mqtt://localhost}
                    ^
""",
    ),
    "a route from an unknown source comes with the one that was meant": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - {from: plnt, actor: act}
""",
        """\
bridge.yaml:4:12: routes[0].from: no source is named 'plnt'; did you mean 'plant'?
      - {from: plnt, actor: act}
               ^
""",
    ),
    "a route from an unknown source lists the sources where nothing is near": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - {from: orders, actor: act}
""",
        """\
bridge.yaml:4:12: routes[0].from: no source is named 'orders'; sources: plant
      - {from: orders, actor: act}
               ^
""",
    ),
    "two routes cannot have one name": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - {name: a, from: plant, actor: act}
  - {name: a, from: plant, actor: act}
""",
        """\
bridge.yaml:5:12: routes[1].name: the name 'a' is taken; routes[0] has it
      - {name: a, from: plant, actor: act}
               ^
""",
    ),
    "a source's name is one that metrics can carry": (
        """\
sources:
  1 plant: {type: mqtt, url: mqtt://localhost}
""",
        """\
bridge.yaml:2:3: sources['1 plant']: a source cannot be named '1 plant'; a name is letters, digits, _ and -, and begins with a letter or _
      1 plant: {type: mqtt, url: mqtt://localhost}
      ^
""",
    ),
    "a route's name is one that metrics can carry": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - {name: too hot, from: plant, actor: act}
""",
        """\
bridge.yaml:4:12: routes[0].name: a route cannot be named 'too hot'; a name is letters, digits, _ and -, and begins with a letter or _
      - {name: too hot, from: plant, actor: act}
               ^
""",
    ),
    "there is at least one source": (
        """\
sources: {}
""",
        """\
bridge.yaml:1:10: sources: takes at least one entry
    sources: {}
             ^
""",
    ),
    "a key of a later release is unknown today": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    throttle: {per: 10s}
""",
        """\
bridge.yaml:6:5: routes[0].throttle: unknown key 'throttle'; known keys: name, from, topic, decode, validate, when, otherwise, foreach, foreach_limit, actor, queue, queue_by, allow, args, kwargs, options, delay, eta, then, deduplicate, expires
        throttle: {per: 10s}
        ^
""",
    ),
    "a name in double quotes cannot reach the terminal": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    "\\e[31m": 1
""",
        """\
bridge.yaml:6:5: routes[0]['\\x1b[31m']: unknown key '\\x1b[31m'; known keys: name, from, topic, decode, validate, when, otherwise, foreach, foreach_limit, actor, queue, queue_by, allow, args, kwargs, options, delay, eta, then, deduplicate, expires
        "\\e[31m": 1
        ^
""",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_placed_and_explained(case: str, mistakes: Callable[[str], str]) -> None:
    """A mistake is reported with file, line, column, path, message, remedy, and a caret."""
    text, expected = CASES[case]
    assert mistakes(text) == expected
