"""Mistakes in routes, and values that a worker would not survive."""

from __future__ import annotations

from collections.abc import Callable

import pytest

# The promise: a file, and the exact words of its mistakes.
CASES = {
    "an actor from the payload is refused, with the reason": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - {from: plant, actor: $payload.actor}
""",
        """\
bridge.yaml:4:26: routes[0].actor: an expression alone would let anyone call any actor; write the name of the actor, or list its names under allow: actor:
      - {from: plant, actor: $payload.actor}
                             ^
""",
    ),
    "a queue from the payload is refused, with the reason": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    queue: $payload.queue
""",
        """\
bridge.yaml:6:12: routes[0].queue: an expression alone would let anyone write to any queue; write the name of the queue, or list its names under allow: queue:
        queue: $payload.queue
               ^
""",
    ),
    "a queue that would damage Dramatiq's keys is refused": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    queue: alarms.DQ
""",
        """\
bridge.yaml:6:12: routes[0].queue: a queue's name is letters, digits, _ and -, and begins with a letter or _; other names, such as x.DQ, damage Dramatiq's own keys
        queue: alarms.DQ
               ^
""",
    ),
    "a queue of Dramatiq's own is refused": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    queue: __heartbeats__
""",
        """\
bridge.yaml:6:12: routes[0].queue: a queue's name cannot begin with __; Dramatiq keeps its own keys under such names
        queue: __heartbeats__
               ^
""",
    ),
    "an empty condition is refused": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    when: $
""",
        """\
bridge.yaml:6:11: routes[0].when: takes an expression; without a condition, leave it out
        when: $
              ^
""",
    ),
    "a condition is text": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    when: true
""",
        """\
bridge.yaml:6:11: routes[0].when: takes an expression, not true or false; quote it
        when: true
              ^
""",
    ),
    "args is a list or an expression": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    args: 5
""",
        """\
bridge.yaml:6:11: routes[0].args: takes a list, not a number; or an expression that gives one, as in $payload.items
        args: 5
              ^
""",
    ),
    "kwargs is a mapping or an expression": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    kwargs: [1]
""",
        """\
bridge.yaml:6:13: routes[0].kwargs: takes a mapping, not a list; or an expression that gives one, as in $payload
        kwargs: [1]
                ^
""",
    ),
    "a bare number is no delay": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    delay: 10
""",
        """\
bridge.yaml:6:12: routes[0].delay: takes a duration such as 30s, 5m; a bare number has no unit
        delay: 10
               ^
""",
    ),
    "an option in milliseconds takes a unit": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    options: {time_limit: 30000}
""",
        """\
bridge.yaml:6:27: routes[0].options.time_limit: takes a duration such as 30s, 5m; a bare number has no unit
        options: {time_limit: 30000}
                              ^
""",
    ),
    "a number in quotes would lose the message when it fails": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    options: {max_retries: "3"}
""",
        """\
bridge.yaml:6:28: routes[0].options.max_retries: takes a whole number from 0, not text
        options: {max_retries: "3"}
                               ^
""",
    ),
    "null is for retries only": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    options: {max_retries: null, time_limit: null}
""",
        """\
bridge.yaml:6:46: routes[0].options.time_limit: takes a duration such as 30s, 5m, not null
        options: {max_retries: null, time_limit: null}
                                                 ^
""",
    ),
    "an eta is refused, with what to use": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    options: {eta: 1700000000}
""",
        """\
bridge.yaml:6:15: routes[0].options.eta: the option eta is never written by a bridge; write delay: or eta: beside options:, where a route has them
        options: {eta: 1700000000}
                  ^
""",
    ),
    "what Dramatiq writes itself is refused": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    options: {retries: 1, throws: [ValueError]}
""",
        """\
bridge.yaml:6:15: routes[0].options.retries: the option retries is never written by a bridge; Dramatiq counts retries in it itself; to limit them, use max_retries
        options: {retries: 1, throws: [ValueError]}
                  ^
bridge.yaml:6:27: routes[0].options.throws: the option throws is never written by a bridge; it takes exception classes, and kills a worker's thread otherwise; set it on the actor
        options: {retries: 1, throws: [ValueError]}
                              ^
""",
    ),
    "a slip in an option is a mistake": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    options: {max_retry: 3}
""",
        """\
bridge.yaml:6:15: routes[0].options.max_retry: unknown option 'max_retry'; did you mean 'max_retries'?
        options: {max_retry: 3}
                  ^
""",
    ),
    "a delay is no option": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    options: {delay: 3s}
""",
        """\
bridge.yaml:6:15: routes[0].options.delay: delay is not an option of a route's message; write delay: beside options:
        options: {delay: 3s}
                  ^
""",
    ),
    "a pipe target is one message": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    options:
      pipe_target:
        - {actor_name: next}
""",
        """\
bridge.yaml:8:9: routes[0].options.pipe_target: takes one message, not a list; a list stops the pipeline without a word
            - {actor_name: next}
            ^
""",
    ),
    "a pipe target is checked to its end": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    options:
      pipe_target:
        actor: next
        queue_name: x.DQ
        options: {pipe_target: {actor_name: $payload.next}}
""",
        """\
bridge.yaml:7:7: routes[0].options.pipe_target: the key 'actor_name' is missing; add actor_name: the actor of this step
          pipe_target:
          ^
bridge.yaml:8:9: routes[0].options.pipe_target.actor: unknown key 'actor'; a message has queue_name, actor_name, args, kwargs, options
            actor: next
            ^
bridge.yaml:9:21: routes[0].options.pipe_target.queue_name: a queue's name is letters, digits, _ and -, and begins with a letter or _; other names, such as x.DQ, damage Dramatiq's own keys
            queue_name: x.DQ
                        ^
bridge.yaml:10:45: routes[0].options.pipe_target.options.pipe_target.actor_name: takes the name of an actor, no expression: that would let anyone call any actor
            options: {pipe_target: {actor_name: $payload.next}}
                                                ^
""",
    ),
    "a pipe target from the payload is refused": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    options: {pipe_target: $payload.next, group_completion_callbacks: [$payload.next]}
""",
        """\
bridge.yaml:6:28: routes[0].options.pipe_target: takes a message written out as a mapping, not text; an expression would let anyone call any actor
        options: {pipe_target: $payload.next, group_completion_callbacks: [$payload.next]}
                               ^
bridge.yaml:6:72: routes[0].options.group_completion_callbacks[0]: takes a message written out as a mapping, not text; an expression would let anyone call any actor
        options: {pipe_target: $payload.next, group_completion_callbacks: [$payload.next]}
                                                                           ^
""",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_placed_and_explained(case: str, mistakes: Callable[[str], str]) -> None:
    """A mistake is reported with file, line, column, path, message, remedy, and a caret."""
    text, expected = CASES[case]
    assert mistakes(text) == expected
