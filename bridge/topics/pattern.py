"""Topic patterns: each source's own wildcards, plus `{name}`, which captures one level as text."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import re2

from bridge.errors import InvalidValue

#: Topics that are remembered by whoever looks them up; one more, and it begins anew.
MOST_KNOWN: Final = 8192
#: Longer ones, in characters or bytes, are not remembered.
_LONGEST_KNOWN: Final = 256

_Key = TypeVar("_Key", str, bytes)
_Value = TypeVar("_Value")
_CAPTURE: Final = re.compile(r"\{([^{}]*)\}")
_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*\Z")
#: The pieces of a glob: a capture, an escaped character, a class, or one character.
_GLOB: Final = re.compile(r"\{[^{}]*\}|\\.|\[\^?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
#: One character of a class, or a range of them.
_CLASS_PART: Final = re.compile(r"(\\.|.)(?:-(\\.|.))?", re.DOTALL)
_OPTIONS: Final = re2.Options()
_OPTIONS.log_errors = False  # to stderr, past our logs


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern; `captures` are the names in the order of `match`'s result."""

    text: str
    captures: tuple[str, ...]
    _regex: Any
    _fits_empty: bool = True

    def match(self, topic: str) -> tuple[str, ...] | None:
        """Return what `{name}` captured, in order, or None where the topic does not fit."""
        if not topic and not self._fits_empty:
            return None
        found = self._regex.fullmatch(topic)
        return found.groups() if found else None


def compile_pattern(text: str, protocol: str) -> Pattern:
    """Compile `text` in the wildcards of `protocol` (the `type` of a source).

    Raises:
        InvalidValue: with the mistake, and its character where there is one.
    """
    redis = protocol.startswith("redis")
    # In a glob, braces that are escaped or stand in [ ] are characters as any other.
    captures = _capture_names(_GLOB.sub(_masked, text) if redis else text)
    regex = _redis(text) if redis else {"mqtt": _mqtt, "amqp": _amqp}[protocol](text)
    # To RabbitMQ an empty routing key is no word at all: of the wildcards only # takes it.
    fits_empty = protocol != "amqp" or set(text.split(".")) == {"#"}
    try:
        # re2 matches in linear time: no topic, however odd, can make a pattern slow.
        return Pattern(text, captures, re2.compile(regex, _OPTIONS), fits_empty)
    except re2.error:
        raise InvalidValue("this topic is too long") from None


def _capture_names(text: str) -> tuple[str, ...]:
    if not text:
        raise InvalidValue("an empty topic fits nothing", "leave `topic` out to take every event of the source")
    names: list[str] = []
    for found in _CAPTURE.finditer(text):
        name = found[1]
        if not _NAME.match(name):
            raise InvalidValue(
                f"{{{name}}} is not a name", "write letters, digits and _, such as {plant}", found.start()
            )
        if keyword.iskeyword(name):
            raise InvalidValue(f"{{{name}}} is a word of the language", "give it another name", found.start())
        if name in names:
            raise InvalidValue(f"{{{name}}} stands twice", "give each capture a name of its own", found.start())
        names.append(name)
    rest = _CAPTURE.sub(lambda found: "x" * len(found[0]), text)
    for brace in "{}":
        if brace in rest:
            raise InvalidValue(f"a single {brace}", "a capture is written {name}", rest.index(brace))
    return tuple(names)


def _levels(text: str, separator: str, many: str, one: str) -> list[str]:
    """Split into levels; a wildcard or a capture must be a whole level, as in the protocols themselves."""
    levels = text.split(separator)
    offset = 0
    for level in levels:
        for wildcard in (many, one):
            if wildcard in level and level != wildcard:
                raise InvalidValue(
                    f"{wildcard} must stand alone between two {separator!r}",
                    f"as in a{separator}{one}{separator}b",
                    offset + level.index(wildcard),
                )
        if "{" in level and not _CAPTURE.fullmatch(level):
            raise InvalidValue(
                "a capture takes a whole level", f"as in a{separator}{{name}}{separator}b", offset + level.index("{")
            )
        offset += len(level) + 1
    return levels


def _mqtt(text: str) -> str:
    levels = _levels(text, "/", "#", "+")
    if "#" in levels[:-1]:
        raise InvalidValue("# must be the last level", "use + for one level in the middle", text.index("#"))
    # A wildcard in the first level does not take the broker's own $SYS topics [MQTT-4.7.2-1].
    if levels == ["#"]:
        return r"(?s)[^$].*|"
    parts = []
    for index, level in enumerate(levels):
        hidden = r"(?:[^$/][^/]*|)" if index == 0 else r"[^/]*"
        if level == "#":
            continue
        if level == "+":
            parts.append(hidden)
        elif level.startswith("{"):
            parts.append(f"({hidden})")
        else:
            parts.append(re2.escape(level))
    tail = r"(?:/.*)?" if levels[-1] == "#" else ""
    return "(?s)" + "/".join(parts) + tail


def _amqp(text: str) -> str:
    words = _levels(text, ".", "#", "*")
    word = r"[^.]*"
    if words == ["#"]:
        return r"(?s).*"
    # Each word carries the dot before it, so that `#`, which may be no word at all, takes its dot along;
    # only the first word has none.
    regex = ""
    pending = False  # a leading `#` has been written: what follows may begin the topic
    for index, level in enumerate(words):
        if level == "#":
            regex += rf"(?:{word}(?:\.{word})*)?" if index == 0 else rf"(?:\.{word})*"
            pending = pending or index == 0
            continue
        part = word if level == "*" else f"({word})" if level.startswith("{") else re2.escape(level)
        if index == 0:
            regex += part
        elif pending:
            regex = rf"(?:{word}\.)*" + part
            pending = False
        else:
            regex += r"\." + part
    return "(?s)" + regex


def _masked(found: re.Match[str]) -> str:
    return found[0] if len(found[0]) == 1 or found[0].startswith("{") else "x" * len(found[0])


def _redis(text: str) -> str:
    """PSUBSCRIBE's globs: `*`, `?`, `[abc]`, `[^a]`, `[a-z]` and a backslash for the character itself."""
    regex = []
    for found in _GLOB.finditer(text):
        glob = found[0]
        if glob == "*":
            regex.append(r".*")
        elif glob == "?":
            regex.append(r".")
        elif glob == "[":
            raise InvalidValue("this [ is never closed", "write \\[ where it is meant literally", found.start())
        elif glob.startswith("{"):
            regex.append(r"([^:./]+)")
        elif glob.startswith("["):
            regex.append(_redis_class(glob, found.start()))
        else:
            regex.append(re2.escape(glob[-1]))
    return "(?s)" + "".join(regex)


def _redis_class(glob: str, offset: int) -> str:
    """Return `[...]` in re2's words: to Redis nothing in it is special but a leading ^, ranges and the backslash."""
    negated = glob.startswith("[^")
    inside = [[ord(end[-1]) for end in part if end] for part in _CLASS_PART.findall(glob[2 if negated else 1 : -1])]
    if not inside:
        raise InvalidValue(f"{glob} holds nothing", "write \\[ where it is meant literally", offset)
    # Redis takes [z-a] as [a-z].
    ranges = "".join(rf"\x{{{min(part):x}}}-\x{{{max(part):x}}}" for part in inside)
    return f"[{'^' if negated else ''}{ranges}]"


def subscription(text: str) -> str:
    """Return the MQTT filter that brings what the pattern `text` fits: `{name}` becomes `+`."""
    return _CAPTURE.sub("+", text)


def covers(wide: str, narrow: str) -> bool:
    """Tell whether the MQTT filter `wide` brings every topic that `narrow` brings."""
    ours, theirs = wide.split("/"), narrow.split("/")
    for index, level in enumerate(ours):
        if level == "#":
            return not (index == 0 and theirs[0].startswith("$"))
        if index >= len(theirs) or theirs[index] == "#":
            return False
        if level == "+":
            if index == 0 and theirs[0].startswith("$"):
                return False
        elif level != theirs[index]:
            return False
    return len(ours) == len(theirs)


def without_covered(filters: list[str]) -> list[str]:
    """Drop every filter that another one covers: a broker may send an event once per filter that fits."""
    unique = list(dict.fromkeys(filters))
    return [one for one in unique if not any(other != one and covers(other, one) for other in unique)]


def remember(known: dict[_Key, _Value], topic: _Key, found: _Value, longest: int = _LONGEST_KNOWN) -> None:
    """Keep what was found for a topic: nearly all come again and again, and a stranger's are bounded."""
    if len(topic) <= longest:
        if len(known) >= MOST_KNOWN:
            known.clear()
        known[topic] = found
