"""`validate`: payloads that do not fit a JSON Schema become dead letters, before any route, or of one route alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from bridge.config import Config
from bridge.config.schemas import Schema, Validator, schema_of
from bridge.errors import BadEvent
from bridge.model.event import Event
from bridge.observe.masking import masked
from bridge.routing.refusal import Decode

#: The place of these dead letters in a route.
PLACE: Final = "validate"


class Validators:
    """The validators of a configuration, each schema compiled once."""

    def __init__(self, config: Config) -> None:
        self._schemas: Mapping[str, Schema] = config.schemas
        self._secrets = config.table_secrets
        self._compiled: dict[str, Check] = {}

    def of(self, setting: object) -> Check | None:
        """Return the check of a `validate`, None without one."""
        if isinstance(setting, str) and setting in self._compiled:
            return self._compiled[setting]
        schema = schema_of(setting, self._schemas)
        if schema is None:
            return None
        try:
            check = _check(Validator(schema), self._secrets)
        except (ImportError, ValueError):
            return None  # the configuration's own checks report it
        if isinstance(setting, str):
            self._compiled[setting] = check
        return check


#: Takes a payload, and raises BadEvent if it does not fit.
Check = Callable[[object], None]


def _check(validator: Validator, secrets: frozenset[str]) -> Check:
    is_valid = validator.is_valid

    def check(payload: object) -> None:
        try:
            if is_valid(payload):
                return
        except ValueError:
            pass  # a value that the library does not take: `explain` says which
        raise BadEvent("invalid", masked(validator.explain(payload), secrets), PLACE)

    return check


def validated(decode: Decode, check: Check | None) -> Decode:
    """Return `decode`, with a check of its payloads; without one, itself."""
    if check is None:
        return decode

    def decode_and_check(event: Event) -> object:
        payload = decode(event)
        check(payload)
        return payload

    return decode_and_check


def validated_run(run: Callable[..., Any], check: Check | None) -> Callable[..., Any]:
    """Return the function of a route, with a check of the payload before all else; without one, itself."""
    if check is None:
        return run

    def check_and_run(event: Event, payload: object, captures: tuple[str, ...], ids: object) -> Any:
        check(payload)
        return run(event, payload, captures, ids)

    return check_and_run
