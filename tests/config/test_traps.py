"""Values that YAML would quietly turn into something else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

# The promise: a file, and the exact words of its mistakes.
CASES = {
    "an unquoted no is not silently false": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - {from: plant, actor: act, kwargs: {country: no}}
""",
        """\
bridge.yaml:4:49: routes[0].kwargs.country: unquoted yes, no, on and off are booleans in some YAML; quote it, or write true or false
      - {from: plant, actor: act, kwargs: {country: no}}
                                                    ^
""",
    ),
    "an unquoted ON is not silently true": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    args: [ON]
""",
        """\
bridge.yaml:6:12: routes[0].args[0]: unquoted yes, no, on and off are booleans in some YAML; quote it, or write true or false
        args: [ON]
               ^
""",
    ),
    "a number with a leading zero is not silently octal": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    args: [0123]
""",
        """\
bridge.yaml:6:12: routes[0].args[0]: a number that begins with 0 is octal in some YAML; quote it if it is text, or leave out the zero
        args: [0123]
               ^
""",
    ),
    "digits with colons are not silently a number to base 60": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    args: [12:30:45]
""",
        """\
bridge.yaml:6:12: routes[0].args[0]: unquoted digits with colons are a number to base 60 in some YAML; quote it
        args: [12:30:45]
               ^
""",
    ),
    "digits with underscores are not silently a number": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    args: [1_000]
""",
        """\
bridge.yaml:6:12: routes[0].args[0]: digits with underscores are a number in some YAML; quote it if it is text, or leave out the underscores
        args: [1_000]
               ^
""",
    ),
    "an unquoted # is not silently an empty value": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    topic: #
""",
        """\
bridge.yaml:6:12: routes[0].topic: this value is empty: an unquoted # begins a comment; write "#" or null
        topic: #
               ^
""",
    ),
    "an unquoted # in a list is not silently an empty item": (
        """\
sources:
  plant:
    type: mqtt
    url: mqtt://localhost
    topics:
      - #
      - a/b
""",
        """\
bridge.yaml:6:9: sources.plant.topics[0]: this value is empty: an unquoted # begins a comment; write "#" or null
          - #
            ^
""",
    ),
    "an unquoted * wildcard has words of its own, and the rest of the file is still read": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    topic: *.orange.*
    quue: x
""",
        """\
bridge.yaml:6:12: routes[0].topic: an unquoted value cannot begin with *; quote it, as in "*.created"
        topic: *.orange.*
               ^
bridge.yaml:7:5: routes[0].quue: unknown key 'quue'; did you mean 'queue'?
        quue: x
        ^
""",
    ),
    "an unquoted lone * has words of its own": (
        """\
sources:
  all: {type: redis-pubsub, url: redis://localhost, patterns: [*]}
""",
        """\
bridge.yaml:2:64: sources.all.patterns[0]: an unquoted value cannot begin with *; quote it, as in "*.created"
      all: {type: redis-pubsub, url: redis://localhost, patterns: [*]}
                                                                   ^
""",
    ),
    "an unquoted & has words of its own": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    topic: & b
""",
        """\
bridge.yaml:6:12: routes[0].topic: an unquoted value cannot begin with &; quote it, as in "&..."
        topic: & b
               ^
""",
    ),
    "an unknown escape in double quotes is explained": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    when: "matches(topic, '\\d')"
""",
        """\
bridge.yaml:6:28: an unknown escape in double quotes; use single quotes, or \\\\ for a backslash
        when: "matches(topic, '\\d')"
                               ^
""",
    ),
    "an infinite number cannot become JSON": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    args: [.inf]
""",
        """\
bridge.yaml:6:12: routes[0].args[0]: infinity and not-a-number cannot be written in JSON; quote it if it is text
        args: [.inf]
               ^
""",
    ),
    "a number too large for a float is refused": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    args: [1e999]
""",
        """\
bridge.yaml:6:12: routes[0].args[0]: this number is too large; quote it if it is text
        args: [1e999]
               ^
""",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_placed_and_explained(case: str, mistakes: Callable[[str], str]) -> None:
    """A mistake is reported with file, line, column, path, message, remedy, and a caret."""
    text, expected = CASES[case]
    assert mistakes(text) == expected
