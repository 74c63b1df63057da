"""The models of a valid configuration: the attributes are named as the keys of the file.

Durations are milliseconds, sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PrivateAttr, WithJsonSchema, field_validator

from bridge.config.admin import AdminSettings
from bridge.config.cases import Case
from bridge.config.connection import (
    Boolean,
    Bytes,
    Integer,
    Milliseconds,
    Model,
    Name,
    at_least,
)
from bridge.config.defaults import SourceDefaults, forget
from bridge.config.dollar import texts
from bridge.config.dramatiq import Dramatiq
from bridge.config.manifest import Actor, Manifest
from bridge.config.route_model import Route
from bridge.config.schemas import Schema
from bridge.config.source_model import MAX_PROCESSES
from bridge.config.sources import SourceConfig
from bridge.config.table_files import Rows
from bridge.config.tables import Table
from bridge.config.tracing import TracingSettings
from bridge.errors import InvalidValue


def _at_least_1_mib(size: int) -> int:
    if size < 1 << 20:
        raise InvalidValue("takes a size of at least 1MiB")
    return size


def _redacted_path(path: str) -> str:
    root, *names = path.split(".")
    if path == "topic":
        raise InvalidValue("a topic is never redacted", "a route is found by it")
    if root not in {"payload", "headers", "meta"} or "" in names:
        raise InvalidValue("takes the path of a field", "as in payload.card, payload.items.card, headers.authorization")
    if any(char in path for char in "[]*"):
        raise InvalidValue(
            "takes names with points between them", "a list needs none: payload.items.card is the card of every item"
        )
    return path


class SpoolSettings(Model):
    """The disk that keeps events while Redis is away and no broker holds them."""

    directory: Name = Field(
        description="directory of this bridge alone; it is made where it is missing",
        examples=["/var/lib/dramatiq-bridge/spool"],
    )
    max_size: Annotated[Bytes, AfterValidator(_at_least_1_mib)] = Field(
        default=256 << 20,
        description="how much of the disk all sources may take together; at least 1MiB",
        examples=["1GiB"],
    )


class DeadLetters(Model):
    """The list of events that cannot become messages."""

    max_length: Annotated[Integer, Field(ge=1, le=1 << 53)] = Field(
        default=10_000, description="entries that are kept", examples=[50_000]
    )
    max_size: Annotated[Bytes, AfterValidator(_at_least_1_mib)] = Field(
        default=64 << 20,
        description="how much of Redis's memory they may take; at most a tenth of its maxmemory, at least 1MiB",
        examples=["128MiB"],
    )
    max_age: Annotated[Milliseconds, at_least(60_000)] = Field(
        default=14 * 86_400_000, description="how long one is kept; at least 1m", examples=["30d"]
    )
    redact: Annotated[list[Annotated[str, AfterValidator(_redacted_path)]], Field(max_length=100)] = Field(
        default=[],
        description="fields of events that dead letters, `tap` and the page never show",
        examples=[["payload.card", "headers.authorization"]],
    )


class Log(Model):
    """How the bridge logs."""

    format: Literal["json", "console"] | None = Field(
        default=None, description="without it console on a terminal, JSON lines otherwise", examples=["json"]
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least level that is logged", examples=["debug"]
    )


def _hiding_lookups(route: Route) -> Route:
    """Return a route that hides each part that may hold a `lookup(...)`, as those with a value of `${...}`."""
    looking = {str(path[0]) for path, text in texts((), route) if "lookup" in text}
    if not looking:
        return route
    changed = route.model_copy()
    changed._hidden = route.hidden | looking  # noqa: SLF001 - as Model itself does
    return changed


@dataclass(frozen=True, slots=True)
class Origin:
    """The file of a configuration: its path, the SHA-256 of all texts that it is made of, and when it was loaded, in epoch seconds.

    `masked_conditions` has, by the route's name, each `when` into which `${...}` has put a value, without that value.
    """

    path: str = ""
    fingerprint: str = ""
    loaded_at: float = 0.0
    masked_conditions: Mapping[str, str] = field(default_factory=dict)


class Config(Model):
    """A whole configuration."""

    dramatiq: Annotated[
        Dramatiq, Field(description="where the workers look", examples=[{"url": "redis://localhost:6379/0"}])
    ] = Dramatiq()
    include: list[Name] = Field(
        default=[],
        description="more files with routes, sources, tables and tests: paths or patterns, from this file's folder on",
        examples=[["routes/*.yaml"]],
    )
    defaults: Annotated[SourceDefaults, AfterValidator(forget), WithJsonSchema({"type": "object"})] = Field(
        default=SourceDefaults(),
        description="settings that all sources of a type have, unless a source has its own",
        examples=[{"mqtt": {"url": "mqtts://broker.example.com", "username": "bridge"}}],
    )
    sources: Annotated[dict[str, SourceConfig], Field(min_length=1)] = Field(
        description="where events come from, by names of your own",
        examples=[{"orders": {"type": "amqp", "url": "amqp://localhost/", "queue": "orders"}}],
    )
    routes: list[Route] = Field(
        default=[],
        description="which events become which messages",
        examples=[[{"from": "orders", "actor": "reserve_stock", "args": ["$payload.id"]}]],
    )
    log: Annotated[Log, Field(description="how the bridge logs", examples=[{"level": "debug"}])] = Log()
    processes: Annotated[Integer, Field(ge=1, le=MAX_PROCESSES)] = Field(
        default=1, description="how many processes share the events of sources that can be shared", examples=[4]
    )
    drain_timeout: Milliseconds = Field(
        default=20_000, description="how long the received events may take at a stop; the process ends within 5 s more"
    )
    spool: SpoolSettings | None = Field(
        default=None,
        description="disk for the events that no broker keeps while Redis is away; without it they are lost",
        examples=[{"directory": "/var/lib/dramatiq-bridge/spool"}],
    )
    dead_letters: Annotated[
        DeadLetters, Field(description="where unusable events go", examples=[{"max_length": 50_000}])
    ] = DeadLetters()
    admin: AdminSettings | None = Field(
        default=None,
        description="server for the page, health, metrics, status and reload; off without this",
        examples=[{"listen": "127.0.0.1:9464"}],
    )
    manifest: Name | None = Field(
        default=None,
        description="file of `dramatiq-bridge actors`, beside this one: calls are checked against it",
        examples=["actors.json"],
    )
    enforce_manifest: Boolean = Field(
        default=False,
        description="whether an event becomes a dead letter if its actor can't be called with its arguments",
        examples=[True],
    )
    tracing: Annotated[
        TracingSettings,
        Field(description="how the trace of an event goes on in its messages", examples=[{"propagate": ["w3c"]}]),
    ] = TracingSettings()
    tables: dict[str, Table] = Field(
        default={},
        description="small tables that expressions look up, by names of your own",
        examples=[{"customers": {"file": "customers.csv", "key": "customer_no", "value": "account"}}],
    )
    tests: list[Case] = Field(
        default=[],
        description="events, and the messages that are right for them",
        examples=[[{"name": "an order", "event": {"from": "orders", "payload": {"id": 1}}, "expect": [{"args": [1]}]}]],
    )

    @field_validator("routes")
    @classmethod
    def _name_routes(cls, routes: list[Route]) -> list[Route]:
        """Give every route a name: the actor's, with -2, -3 where that one is taken."""
        taken = {route.name for route in routes if route.name is not None}
        named = []
        numbers: dict[str, int] = {}  # the last one given: thousands of routes may have one actor
        for route in routes:
            if route.name is None:
                number = numbers.get(route.actor, 0) + 1
                name = route.actor if number == 1 else f"{route.actor}-{number}"
                while name in taken:
                    number += 1
                    name = f"{route.actor}-{number}"
                numbers[route.actor] = number
                taken.add(name)
                named.append(route.model_copy(update={"name": name}))
                named[-1].model_fields_set.discard("name")  # model_copy marks it as given; the file does not give it
            else:
                named.append(route)
        return named

    _known: Manifest | None = PrivateAttr(default=None)
    _origin: Origin | None = PrivateAttr(default=None)
    _rows: Mapping[str, Rows] = PrivateAttr(default_factory=dict)
    _schemas: Mapping[str, Schema] = PrivateAttr(default_factory=dict)
    _table_secrets: frozenset[str] = PrivateAttr(default=frozenset())

    @property
    def origin(self) -> Origin:
        """The file that it was loaded from."""
        return self._origin or Origin()

    def with_origin(self, origin: Origin) -> Config:
        """Return this configuration, which was loaded from a file."""
        changed = self.model_copy()
        changed._origin = origin  # noqa: SLF001 - its own class
        return changed

    @property
    def actors(self) -> Mapping[str, Actor] | None:
        """The actors of the manifest, None without one."""
        return None if self._known is None else self._known.actors

    @property
    def actor_queues(self) -> Mapping[str, str]:
        """The queue of each actor in the manifest."""
        return {} if self._known is None else {name: actor.queue for name, actor in self._known.actors.items()}

    @property
    def actor_options(self) -> Collection[str]:
        """The options that the brokers in the manifest know."""
        return () if self._known is None else self._known.options

    def with_manifest(self, manifest: Manifest) -> Config:
        """Return this configuration with a manifest: a route that names no queue takes its actor's."""
        changed = self.model_copy(update={"routes": [route.with_actors(manifest.actors) for route in self.routes]})
        changed._known = manifest  # noqa: SLF001 - its own class
        return changed

    @property
    def rows(self) -> Mapping[str, Rows]:
        """The rows of each table by their keys."""
        return self._rows

    @property
    def schemas(self) -> Mapping[str, Schema]:
        """The schema in each file that a `validate` names."""
        return self._schemas

    @property
    def table_secrets(self) -> frozenset[str]:
        """The texts that `${...}` has put into tables and schemas: they may be secrets."""
        return self._table_secrets

    def with_data(
        self, rows: Mapping[str, Rows], schemas: Mapping[str, Schema], secrets: frozenset[str] = frozenset()
    ) -> Config:
        """Return this configuration with the rows of its tables and the schemas of its files.

        With `secrets`, which are in some table, whatever looks up a table is shown no more than a value of `${...}`.
        """
        changed = self.model_copy(
            update={"routes": [_hiding_lookups(route) for route in self.routes]} if secrets else {}
        )
        changed._rows, changed._schemas, changed._table_secrets = rows, schemas, secrets  # noqa: SLF001 - its own class
        return changed

    def secrets(self) -> set[str]:
        """Return the texts of every connection, and of tables, that no log may show."""
        token = self.admin.token if self.admin is not None else None
        known = {token.get_secret_value()} if token is not None else set()
        return known.union(
            self._table_secrets, self.dramatiq.secrets(), *(source.secrets() for source in self.sources.values())
        )
