"""The difference between two configurations: which parts of a running bridge a reload replaces, and in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from bridge import sources
from bridge.config import Config, Route

#: So many changes are named.
_MAX_NAMED: Final = 100
#: Sections whose change makes a new sink, and so new connections everywhere.
_OF_SINK: Final = ("dramatiq", "dead_letters")
#: Sections that are replaced without a connection being closed.
_LIVE: Final = ("log", "drain_timeout", "admin", "manifest", "enforce_manifest", "tracing")
#: Keys that models have under other names.
_KEYS: Final = {"source": "from", "validation": "validate"}
_RESTART: Final = "restart the bridge for it"


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes from one configuration to another; `refused` says in words which of them needs a restart, "" if none does.

    `words` name them. Sources by name: those that are `removed`, `added`, or `restarted`; one whose `type` changes is removed
    and added. With `sink`, there is a new sink, and every source that stays restarts.
    """

    words: Sequence[str]
    refused: str
    sink: bool
    removed: frozenset[str]
    added: frozenset[str]
    restarted: frozenset[str]


def compare(old: Config, new: Config) -> Changes:
    """Return the changes from `old` to `new`. No value of either is in the words, since it may be a secret."""
    sections = {name: _changed(getattr(old, name), getattr(new, name)) for name in (*_OF_SINK, *_LIVE)}
    words = [f"{name} changed{_listed(keys)}" for name, keys in sections.items() if keys is not None]
    if sections["manifest"] is None and old.manifest is not None and old.actors != new.actors:
        words.append("manifest changed: its actors")
    words += _compare_data(old, new)
    restarted, source_words = _compare_sources(old, new)
    replaced = {name for name in restarted if old.sources[name].type != new.sources[name].type}
    sink = any(sections[name] is not None for name in _OF_SINK)
    kept = old.sources.keys() & new.sources.keys()
    words += [*source_words, *_compare_routes(old, new)]
    return Changes(
        words=words if len(words) <= _MAX_NAMED else [*words[:_MAX_NAMED], f"and {len(words) - _MAX_NAMED} more"],
        refused="; ".join(_refusals(old, new)),
        sink=sink,
        removed=frozenset((old.sources.keys() - new.sources.keys()) | replaced),
        added=frozenset((new.sources.keys() - old.sources.keys()) | replaced),
        restarted=frozenset((kept if sink else restarted) - replaced),
    )


def _refusals(old: Config, new: Config) -> Iterator[str]:
    if old.processes != new.processes:
        yield f"processes: {old.processes} cannot become {new.processes} while the bridge runs: {_RESTART}"
    if (keys := _changed(old.spool, new.spool)) is not None:
        yield f"spool{_listed(keys)}: the spool is open while the bridge runs: {_RESTART}"
    before, after = (None if config.admin is None else config.admin.listen for config in (old, new))
    if before != after:
        yield f"admin.listen: the admin server listens on one address while the bridge runs: {_RESTART}"


def _compare_sources(old: Config, new: Config) -> tuple[set[str], list[str]]:
    """Return the sources of both that have to connect anew, and all changes of sources in words."""
    words = [f"source {name} removed" for name in old.sources if name not in new.sources]
    restarted = set()
    for name, source in new.sources.items():
        if name not in old.sources:
            words.append(f"source {name} added")
            continue
        keys = _changed(old.sources[name], source)
        if keys is None and sources.subscriptions(name, old) != sources.subscriptions(name, new):
            keys = ["subscriptions"]
        if keys is not None:
            keys = ["type"] if "type" in keys else keys
            restarted.add(name)
            words.append(f"source {name} changed{_listed(keys)}")
    return restarted, words


def _compare_data(old: Config, new: Config) -> Iterator[str]:
    """Yield the tables that have changed, and the files of schemas."""
    for name in dict.fromkeys((*old.tables, *new.tables)):
        if name not in new.tables:
            yield f"table {name} removed"
        elif name not in old.tables:
            yield f"table {name} added"
        elif old.tables[name] != new.tables[name] or old.rows.get(name) != new.rows.get(name):
            yield f"table {name} changed"
    for file in old.schemas.keys() & new.schemas.keys():
        if old.schemas[file] != new.schemas[file]:
            yield f"schema {file} changed"


def _compare_routes(old: Config, new: Config) -> Iterator[str]:
    before, after = _by_name(old), _by_name(new)
    for name in before:
        if name not in after:
            yield f"route {name} removed"
    for name, route in after.items():
        if name not in before:
            yield f"route {name} added"
        elif (keys := _changed(before[name], route)) is not None:
            yield f"route {name} changed{_listed(keys)}"
    if [name for name in before if name in after] != [name for name in after if name in before]:
        yield "routes are in another order"
    yield from _forgotten_keys(before, after)


def _forgotten_keys(before: Mapping[str, Route], after: Mapping[str, Route]) -> Iterator[str]:
    """Yield the routes that have another name, and nothing else: the keys that Redis remembers belong to the old one."""
    old: dict[tuple[str, str], list[Route]] = {}
    for route in before.values():
        if route.deduplicate is not None:
            old.setdefault((route.source, route.deduplicate.key), []).append(route)
    for name, route in after.items():
        if route.deduplicate is None or _changed(before.get(name), route) is None:
            continue
        for each in old.get((route.source, route.deduplicate.key), ()):
            if _changed(each, route) == ["name"] and _changed(each, after.get(str(each.name))) is not None:
                yield f"route {each.name} is now {name}: it has forgotten its keys of deduplicate, which belong to its name"
                break


def _by_name(config: Config) -> Mapping[str, Route]:
    return {str(route.name): route for route in config.routes}


def _changed(old: Any, new: Any) -> list[str] | None:
    """Return the keys of two models that differ; None if none does. Values that are no models have no keys."""
    if isinstance(old, BaseModel) and isinstance(new, BaseModel):
        names = dict.fromkeys((*type(old).model_fields, *type(new).model_fields))
        # By field, since models also differ in the values that their repr hides.
        keys = [name for name in names if _changed(getattr(old, name, None), getattr(new, name, None)) is not None]
        return keys or None
    return None if old == new else []


def _listed(keys: Sequence[str]) -> str:
    return f": {', '.join(_KEYS.get(key, key) for key in keys)}" if keys else ""
