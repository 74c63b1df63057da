"""The registry of the sources: each protocol has its settings and its traits in a file of its own.

No other file outside these and `bridge/sources` knows a protocol by its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, get_args

from pydantic import Field

from bridge.config.amqp import Amqp
from bridge.config.mqtt import Mqtt
from bridge.config.redis_pubsub import RedisPubsub
from bridge.config.redis_stream import RedisStream
from bridge.config.source_model import SourceModel

#: The registry: a new source is one class more in this union.
SourceConfig = Annotated[Amqp | Mqtt | RedisPubsub | RedisStream, Field(discriminator="type")]


def _models() -> Iterator[tuple[str, type[SourceModel]]]:
    for model in get_args(get_args(SourceConfig)[0]):
        for name in get_args(model.model_fields["type"].annotation):
            yield name, model


#: The model of each `type`.
SOURCES: Final[Mapping[str, type[SourceModel]]] = dict(_models())
