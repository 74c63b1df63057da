"""The configuration: `load` reads a file and returns a Config."""

from bridge.config.admin import AdminSettings
from bridge.config.amqp import Amqp, Binding, Declare
from bridge.config.connection import Connection, Tls
from bridge.config.deduplicate import Deduplicate
from bridge.config.document import MAX_MISTAKES
from bridge.config.dramatiq import Dramatiq
from bridge.config.loading import Check, load
from bridge.config.models import Config, DeadLetters, Log
from bridge.config.mqtt import Mqtt
from bridge.config.redis_pubsub import RedisPubsub
from bridge.config.redis_stream import RedisStream
from bridge.config.route_model import Route
from bridge.config.schema import schema
from bridge.config.source_model import MAX_PROCESSES, SourceModel, Window
from bridge.config.sources import SourceConfig
from bridge.config.units import parse_duration, parse_size
from bridge.config.urls import redacted_url

__all__ = [
    "MAX_MISTAKES",
    "MAX_PROCESSES",
    "AdminSettings",
    "Amqp",
    "Binding",
    "Check",
    "Config",
    "Connection",
    "DeadLetters",
    "Declare",
    "Deduplicate",
    "Dramatiq",
    "Log",
    "Mqtt",
    "RedisPubsub",
    "RedisStream",
    "Route",
    "SourceConfig",
    "SourceModel",
    "Tls",
    "Window",
    "load",
    "parse_duration",
    "parse_size",
    "redacted_url",
    "schema",
]
