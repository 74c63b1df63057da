"""Files that cannot be read, and the parts of YAML that are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

# The promise: a file, and the exact words of its mistakes.
CASES = {
    "an alias is refused": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    args: &a [1]
    kwargs: *a
""",
        """\
bridge.yaml:6:11: routes[0].args: anchors of YAML are refused; quote text that begins with &
        args: &a [1]
              ^
bridge.yaml:7:13: routes[0].kwargs: aliases of YAML are refused; write the value out, or quote text that begins with *, as in "*.created"
        kwargs: *a
                ^
""",
    ),
    "a merge key is refused": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    kwargs:
      <<: *base
      a: 1
""",
        """\
bridge.yaml:7:7: routes[0].kwargs: merge keys of YAML are refused; write the entries out
          <<: *base
          ^
""",
    ),
    "a tag is refused": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    args: !!python/object:os.system [ls]
""",
        """\
bridge.yaml:6:11: routes[0].args: tags of YAML are refused; quote text that begins with !
        args: !!python/object:os.system [ls]
              ^
""",
    ),
    "a second document is refused": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
---
routes: []
""",
        """\
bridge.yaml:3:1: a second document in the file; a configuration is one document
    ---
    ^
""",
    ),
    "a duplicate key points to both": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
  plant: {type: mqtt, url: mqtt://other}
""",
        """\
bridge.yaml:3:3: sources.plant: duplicate key 'plant'; it stands on line 2, column 3 already
      plant: {type: mqtt, url: mqtt://other}
      ^
""",
    ),
    "a tab in the indentation is named": (
        """\
sources:
\tplant: {type: mqtt, url: mqtt://localhost}
""",
        """\
bridge.yaml:2:1: a tab in the indentation; YAML is indented by spaces
     plant: {type: mqtt, url: mqtt://localhost}
    ^
""",
    ),
    "a key that is a number is refused": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    kwargs: {1: one}
""",
        """\
bridge.yaml:6:14: routes[0].kwargs: a key is text; quote it
        kwargs: {1: one}
                 ^
""",
    ),
    "a key that is a list is refused": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    kwargs: {[a]: one}
""",
        """\
bridge.yaml:6:14: routes[0].kwargs: a key is text, not a list or a mapping
        kwargs: {[a]: one}
                 ^
""",
    ),
    "a list that is not closed is named": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    args: [tags[0]]
""",
        """\
bridge.yaml:6:16: this list is not closed, or an item is not separated by a comma; quote an item that holds brackets, such as an expression
        args: [tags[0]]
                   ^
""",
    ),
    "a quote that is not closed is found where it begins": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    topic: "a/b
""",
        """\
bridge.yaml:6:12: this quote is not closed
        topic: "a/b
               ^
""",
    ),
    "a colon in unquoted text is explained": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    topic: a "a: b": c
""",
        """\
bridge.yaml:6:16: a key cannot stand here; quote text that holds ": ", or check the indentation
        topic: a "a: b": c
                   ^
""",
    ),
    "wrong indentation is explained": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
   queue: x
""",
        """\
bridge.yaml:6:4: this does not fit what stands above; check the indentation, and quote a value as a whole
       queue: x
       ^
""",
    ),
    "an item is indented unlike its list": (
        """\
tests:
    - name: a
      expect:
      - actor: act
  - name: b
    expect: []
""",
        """\
bridge.yaml:5:3: this item is indented by 2 spaces, the items above by 4 or 6; indent the items of a list alike
      - name: b
      ^
""",
    ),
    "an item is indented less than the whole list": (
        """\
  - name: a
- name: b
""",
        """\
bridge.yaml:2:1: this item is indented by 0 spaces, the items above by 2; indent the items of a list alike
    - name: b
    ^
""",
    ),
    "nesting is bounded": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    args: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]
""",
        """\
bridge.yaml:6:40: routes[0].args: lists and mappings are nested more than 32 deep
        args: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]
                                           ^
""",
    ),
    "a control character is refused": (
        """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - from: plant
    actor: act
    topic: a\ab
""",
        """\
bridge.yaml:6:13: a control character (U+0007) is not allowed here
        topic: a b
                ^
""",
    ),
    "an empty file says what it needs": (
        """\
# nothing yet
""",
        """\
bridge.yaml:1:1: the file is empty; a configuration has at least sources
    # nothing yet
    ^
""",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_placed_and_explained(case: str, mistakes: Callable[[str], str]) -> None:
    """A mistake is reported with file, line, column, path, message, remedy, and a caret."""
    text, expected = CASES[case]
    assert mistakes(text) == expected
