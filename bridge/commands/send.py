"""`send ACTOR [ARG...]`: writes one message, in the same form as the messages of events."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from bridge.commands.manifests import given_manifest
from bridge.commands.redis_target import given_redis
from bridge.config import DeadLetters, Dramatiq, message_options, parse_duration
from bridge.config.loading import load_with_places
from bridge.config.manifest import Actor
from bridge.config.substitution import Substitution
from bridge.errors import BadEvent, BridgeError, ConfigError, SinkUnavailable, UsageError
from bridge.manifest.binding import Binding
from bridge.manifest.checks import unknown_actor
from bridge.model.batch import Batch
from bridge.model.event import Event
from bridge.model.message import Message, MessageIds, Template, encode_dynamic_options
from bridge.observe.masking import masked
from bridge.routing.compiler import check_routes
from bridge.routing.json_bodies import check_depth
from bridge.sink import RedisSink

T = TypeVar("T")


def main(arguments: argparse.Namespace) -> int:
    """Write the message; print its message_id."""
    dramatiq, dead_letters, actors = _settings(arguments)
    message = _message(arguments, actors)
    asyncio.run(_write(dramatiq, dead_letters, message))
    print(msgspec.json.decode(message.body)["message_id"])
    return 0


def parse_value(text: str, option: str) -> Any:
    """Return the value of `text` if it is JSON, otherwise `text` itself.

    Raises:
        UsageError: the JSON of this option nests too deeply for a Dramatiq worker.
    """
    try:
        parsed = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text
    if isinstance(parsed, (dict, list)):
        try:
            check_depth(parsed)
        except BadEvent as error:
            raise UsageError(f"{option}: {error.detail}") from None
    return parsed


def parse_pairs(pairs: list[str], option: str, is_text: Callable[[str], bool] = lambda _: False) -> dict[str, Any]:
    """Return the NAME=VALUE arguments of `option` as a mapping: JSON where it parses, unless `is_text` of the name.

    Raises:
        UsageError: a pair has no name or no `=`, or its value nests too deeply.
    """
    values = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} takes NAME=VALUE, not {pair!r}")
        values[name] = text if is_text(name) else parse_value(text, f"{option} {name}")
    return values


def _message(arguments: argparse.Namespace, actors: Mapping[str, Actor] | None) -> Message:
    _checked("ACTOR", message_options.check_actor_name, arguments.actor)
    args = [parse_value(text, "ARG") for text in arguments.args]
    kwargs = parse_pairs(arguments.kwarg, "--kwarg")
    queue = arguments.queue
    if queue is not None:
        _checked("--queue", message_options.check_queue_name, queue)
    if actors is not None:
        _check_call(arguments.actor, queue, actors, args, kwargs)
        queue = actors[arguments.actor].queue
    queue = queue or "default"
    delay_ms = None if arguments.delay is None else _checked("--delay", parse_duration, arguments.delay)
    now_ms = time.time_ns() // 1_000_000
    template = Template(arguments.actor, queue, delayed=delay_ms is not None)
    options = encode_dynamic_options({}, None if delay_ms is None else now_ms + delay_ms)
    redis_id, body = template.fill(args, kwargs, MessageIds(now_ms), options)
    return Message(template.queue, redis_id, body)


def _check_call(
    name: str, queue: str | None, actors: Mapping[str, Actor], args: list[Any], kwargs: dict[str, Any]
) -> None:
    if name not in actors:
        raise UsageError(f"ACTOR: {'; '.join(unknown_actor(name, actors))}")
    actor = actors[name]
    if queue not in {None, actor.queue}:
        raise UsageError(f"--queue: the actor {name} is on the queue {actor.queue}, not {queue}")
    _checked("ACTOR", message_options.check_queue_name, actor.queue)
    if not actor.certain:
        return
    binding = Binding(name, actor)
    wrong = [str(misfit) for misfit in binding.misfits(len(args), kwargs)]
    given: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
    for at, value in given:
        if why := binding.excluded(at, value):
            hint = """; JSON text is written '"5"'""" if isinstance(value, (int, float)) and "str" in why else ""
            wrong.append(f"{f'ARG {at + 1}' if isinstance(at, int) else f'--kwarg {at}'}: {why}{hint}")
    if wrong:
        raise UsageError("; ".join(wrong))


def _checked(option: str, check: Callable[[str], T], text: str) -> T:
    try:
        return check(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def _settings(arguments: argparse.Namespace) -> tuple[Dramatiq, DeadLetters, Mapping[str, Actor] | None]:
    manifest = given_manifest(arguments.manifest)
    actors = None if manifest is None else manifest.actors
    if arguments.config is not None:
        # The secrets of the sources may not be there: only those of `dramatiq:` are needed.
        loaded = load_with_places(arguments.config, Substitution(os.environ, allow_unset=True), check_routes)
        unset = loaded.document.unset(("dramatiq",))
        if unset:
            raise ConfigError(unset)
        return loaded.model.dramatiq, loaded.model.dead_letters, loaded.model.actors if actors is None else actors
    return given_redis(arguments.redis, arguments.namespace), DeadLetters(), actors


async def _write(dramatiq: Dramatiq, dead_letters: DeadLetters, message: Message) -> None:
    # With the bridge's own bounds: a refused message is a dead letter beside those of the bridge.
    sink = RedisSink(dramatiq, dead_letters)
    try:
        batch = Batch([Event("send", "", b"", 0)])
        batch.add(0, [message])
        await sink.write(batch)
        for letter in batch.every_dead_letter():
            raise BridgeError(masked(letter.detail, dramatiq.secrets()))
    except SinkUnavailable as error:
        cause = masked(error.cause, dramatiq.secrets())
        raise BridgeError(f"Redis did not take the message: {cause}") from None
    finally:
        await sink.close()
