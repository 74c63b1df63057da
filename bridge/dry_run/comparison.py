"""Compares the messages that a test expects with those that the routes make, and spells out each difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from bridge.config.cases import ExpectedMessage
from bridge.config.message_options import with_queues
from bridge.config.units import spell_duration
from bridge.dry_run.matching import matching
from bridge.dry_run.results import MadeMessage
from bridge.dry_run.wording import shown, shown_around, visible

_KINDS: Final[dict[type, str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "a whole number",
    float: "a fraction",
    str: "text",
    list: "a list",
    dict: "a mapping",
}
_FIELDS: Final = ("route", "actor", "queue", "args", "kwargs", "options", "delay", "then")

Fields = dict[str, Any]


def message_fields(made: MadeMessage, now_ms: int) -> Fields:
    """Return a route's message in the words of `tests:`; durations are milliseconds."""
    message = made.message
    options = {name: value for name, value in message["options"].items() if name not in {"redis_message_id", "eta"}}
    eta = message["options"].get("eta")
    steps = _steps(options)
    return {
        "route": made.route,
        "actor": message["actor_name"],
        "queue": message["queue_name"].removesuffix(".DQ"),
        "args": message["args"],
        "kwargs": message["kwargs"],
        "options": options,
        "delay": None if eta is None else eta - now_ms,
        "then": steps,
    }


def _steps(options: Fields) -> list[Fields]:
    """Take the steps of `then` out of the options of a message, and return them.

    A `pipe_target` without an id is none: the route's own options have it.
    """
    target = options.get("pipe_target")
    if not isinstance(target, dict) or "message_id" not in target:
        return []
    del options["pipe_target"]
    inner = dict(target["options"])
    following = _steps(inner)
    step = {
        "actor": target["actor_name"],
        "queue": target["queue_name"],
        "args": target["args"],
        "kwargs": target["kwargs"],
        "delay": inner.pop("delay", None),
        "ignore_result": inner.pop("pipe_ignore", False),
        "message_id": target["message_id"],
        "options": inner,
    }
    return [step, *following]


def compare(
    expected: Sequence[ExpectedMessage],
    made: Sequence[Fields],
    queues: Mapping[str, str],
    mask: Callable[[str], str] = str,
) -> list[str]:
    """Return every difference, one line each; none where each message is expected, and each expected one was made.

    A message of an expected pipeline that names no queue is expected on that of its actor in `queues`. `mask` takes the
    secrets out of a text before the text is cut.
    """
    wanted = [_given(one, queues) for one in expected]
    pairs = matching(wanted, made, _fits)
    unmet = [want for number, want in enumerate(wanted) if number not in pairs]
    left = [got for number, got in enumerate(made) if number not in pairs.values()]
    lines, missing = [], []
    for want in sorted(unmet, key=lambda want: "route" not in want):
        alike = _alike(want, left)
        if alike is None:
            missing.append(want)
        else:
            left.remove(alike)
            of = f"route {alike['route']}: " if len(wanted) > 1 or len(made) > 1 else ""
            lines += [f"{of}{line}" for name, value in want.items() for line in _field(name, value, alike[name], mask)]
    lines += [f"missing: {_line(want)}" for want in missing]
    lines += [f"not expected: {_line(_without_empty(got))}" for got in left]
    lines += _disorder(wanted, made, pairs) if not lines else []
    return [*map(visible, lines)]


def _disorder(wanted: Sequence[Fields], made: Sequence[Fields], pairs: Mapping[int, int]) -> Iterator[str]:
    """Yield each route whose messages are the expected ones, in another order."""
    by_route: dict[str, list[int]] = {}
    for number in sorted(pairs):
        by_route.setdefault(made[pairs[number]]["route"], []).append(number)
    for route, numbers in by_route.items():
        if len(numbers) < 2:
            continue
        places = sorted(pairs[number] for number in numbers)
        for place, number in zip(places, numbers, strict=True):
            if not _fits(wanted[number], made[place]):
                want, got = _line(wanted[number]), _line(_without_empty(made[place]))
                yield f"route {route}: its messages are in another order: expected {want}; next comes {got}"
                break


def _fits(want: Fields, got: Fields) -> bool:
    return all(
        _is_same(value, got[name])
        if name != "then"
        else len(value) == len(got[name]) and all(map(_fits, value, got[name]))
        for name, value in want.items()
    )


def _given(expected: ExpectedMessage, queues: Mapping[str, str]) -> Fields:
    given: Fields = {name: getattr(expected, name) for name in _FIELDS if name in expected.model_fields_set}
    if given.get("options"):
        given["options"] = with_queues(given["options"], queues)
    if "then" in given:
        given["then"] = [step.model_dump(exclude_unset=True) for step in given["then"] or []]
    return given


def _alike(want: Fields, left: Sequence[Fields]) -> Fields | None:
    """Return the message that `want` most likely means: one of its route, or else of its actor."""
    for name in ("route", "actor"):
        for got in left:
            if want.get(name) == got[name]:
                return got
    return left[0] if left and not want.keys() & {"route", "actor"} else None


def _is_same(want: Any, got: Any) -> bool:
    """Tell whether two values are equal; 1, 1.0, true and "1" are four values."""
    if type(want) is not type(got):
        return False
    if isinstance(want, dict):
        return want.keys() == got.keys() and all(_is_same(value, got[key]) for key, value in want.items())
    if isinstance(want, list):
        return len(want) == len(got) and all(map(_is_same, want, got))
    return bool(want == got)


def _field(name: str, want: Any, got: Any, mask: Callable[[str], str]) -> Iterator[str]:
    """Yield where a field of two messages differs."""
    if name == "delay" and want != got:
        spelled = ["none" if each is None else spell_duration(each) for each in (want, got)]
        yield f"delay: expected {spelled[0]}, the message has {spelled[1]}"
    elif name == "then" and len(want) != len(got):
        yield f"then: expected {len(want)} step{'s' * (len(want) != 1)}, the message has {len(got)}"
    elif name == "then":
        for number, (step, made) in enumerate(zip(want, got, strict=True)):
            for key, value in step.items():
                yield from (f"then[{number}].{line}" for line in _field(key, value, made[key], mask))
    else:
        yield from _values(name, want, got, mask)


def _values(path: str, want: Any, got: Any, mask: Callable[[str], str]) -> Iterator[str]:
    """Yield where two values differ."""
    if type(want) is type(got) and isinstance(want, (dict, list)):
        wanted, found = _by_place(path, want), _by_place(path, got)
        for place in dict.fromkeys([*wanted, *found]):
            if place not in found:
                yield f"{place}: expected {_typed(wanted[place])}, the message does not have it"
            elif place not in wanted:
                yield f"{place}: not expected, the message has {_typed(found[place])}"
            else:
                yield from _values(place, wanted[place], found[place], mask)
    elif not _is_same(want, got):
        texts = isinstance(want, str) and isinstance(got, str)
        yield f"{path}: {_unlike_texts(mask(want), mask(got)) if texts else _unlike(want, got)}"


def _by_place(path: str, value: Any) -> Fields:
    if isinstance(value, dict):
        return {f"{path}.{key}": item for key, item in value.items()}
    return {f"{path}[{index}]": item for index, item in enumerate(value)}


def _unlike(want: object, got: object) -> str:
    return f"expected {_typed(want)}, the message has {_typed(got)}"


def _unlike_texts(want: str, got: str) -> str:
    pairs = zip(want, got, strict=False)
    at = next((at for at, (left, right) in enumerate(pairs) if left != right), min(len(want), len(got)))
    line = f"expected {shown_around(want, at)} (text), the message has {shown_around(got, at)} (text)"
    ends = want[at : at + 1], got[at : at + 1]
    if "".join(ends).isascii():
        return line
    # Two that look alike: a space and one that does not break, a letter in one piece or in two, of another alphabet.
    return f"{line}; at character {at + 1} {_code(ends[0])}, the message has {_code(ends[1])}"


def _code(char: str) -> str:
    return f"U+{ord(char):04X}" if char else "its end"


def _typed(value: object) -> str:
    kind = _KINDS.get(type(value), type(value).__name__)
    return kind if value is None else f"{shown(value)} ({kind})"


def _without_empty(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if value not in (None, {}, [])}


def _line(fields: Fields) -> str:
    return ", ".join(f"{name}: {shown(value)}" for name, value in fields.items())
