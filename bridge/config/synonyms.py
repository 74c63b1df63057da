"""Keys of other programs, with ours for the same thing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

#: Each with the key here whose value it is a part of.
_PART_OF: Final[dict[str, str]] = {
    **dict.fromkeys(("host", "hosts", "hostname", "port", "db", "database", "vhost", "virtual_host"), "url"),
    **dict.fromkeys(
        ("exchange", "bindings", "routing_key", "routing_keys", "durable", "queue_declare", "key"), "declare"
    ),
    **dict.fromkeys(("retries", "max_retries", "time_limit", "max_age", "priority", "timeout"), "options"),
}
#: Each with our names for it: the first one that is known where the key stands.
_CALLED: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("source", "input", "trigger"), ("from",)),
    **dict.fromkeys(("if", "condition", "filter", "where", "match"), ("when",)),
    **dict.fromkeys(
        ("uri", "urls", "server", "servers", "broker", "address", "dsn", "connection", "endpoint"), ("url",)
    ),
    **dict.fromkeys(("channel", "topics", "topic", "subject"), ("topic", "channels", "topics", "streams")),
    **dict.fromkeys(("stream", "streams", "key"), ("streams",)),
    **dict.fromkeys(("task", "job", "function", "target", "handler"), ("actor",)),
    **dict.fromkeys(("user", "login"), ("username",)),
    **dict.fromkeys(("pass", "passwd", "pwd", "secret"), ("password",)),
    **dict.fromkeys(("ssl", "use_ssl", "use_tls", "tls_config"), ("tls",)),
    **dict.fromkeys(("cafile", "ca_file", "ca_cert", "ca_certs", "root_cas_file"), ("ca",)),
    **dict.fromkeys(("certfile", "cert_file", "certificate"), ("cert",)),
    **dict.fromkeys(("keyfile", "key_file", "private_key"), ("key",)),
    **dict.fromkeys(("consumer_group", "group_id", "group_name"), ("group",)),
    **dict.fromkeys(("clientid", "client_name", "client"), ("client_id", "consumer")),
    **dict.fromkeys(("clean_session", "clean_start", "persistent"), ("session_expiry",)),
    **dict.fromkeys(("keep_alive", "ping_interval"), ("keepalive", "heartbeat")),
    **dict.fromkeys(
        ("prefetch", "prefetch_count", "max_in_flight", "qos_prefetch", "batch_size", "count"), ("window",)
    ),
    **dict.fromkeys(("queue_name", "queues"), ("queue",)),
    **dict.fromkeys(("codec", "format", "encoding", "parser", "data_format", "decoder"), ("decode",)),
    **dict.fromkeys(("compression", "compress", "compression_type"), ("content_encoding",)),
    **dict.fromkeys(("max_bytes", "max_size", "max_message_size"), ("max_body",)),
    **dict.fromkeys(("dedupe", "dedup", "idempotency_key"), ("deduplicate",)),
    **dict.fromkeys(("params", "parameters", "arguments", "positional"), ("args",)),
    **dict.fromkeys(("eta", "countdown", "schedule"), ("delay",)),
    **dict.fromkeys(("workers", "concurrency", "threads", "replicas"), ("processes",)),
    **dict.fromkeys(("logging", "logger"), ("log",)),
    **dict.fromkeys(("inputs", "brokers"), ("sources",)),
    **dict.fromkeys(("rules", "outputs", "pipeline", "mappings", "actors"), ("routes",)),
    **dict.fromkeys(("redis", "sink", "output"), ("dramatiq",)),
    **dict.fromkeys(("includes", "import", "imports", "rule_files", "config_files"), ("include",)),
    **dict.fromkeys(("default", "common", "global", "globals", "templates"), ("defaults",)),
    **dict.fromkeys(("dead_letter", "dlq", "dead_letter_queue"), ("dead_letters",)),
}
#: How some of ours are written.
_EXAMPLES: Final = {
    "window": "window: {events: 100}",
    "declare": "declare: {exchange: orders, bindings: [order.#]}",
    "options": "options: {max_retries: 5}",
    "url": "url: mqtt://host:1883, amqp://host/vhost or redis://host:6379/0",
    "include": "include: [routes/*.yaml]",
    "defaults": "defaults: {mqtt: {url: mqtt://host:1883}}",
    "session_expiry": "session_expiry: 0s",
}


def renamed(key: str, known: Collection[str]) -> str:
    """Return the hint for another program's key, "" where none of the `known` keys stands for it."""
    if _PART_OF.get(key) in known:
        return f"it is part of {_PART_OF[key]} here{_as_in(_PART_OF[key])}"
    ours = next((each for each in _CALLED.get(key, ()) if each in known), "")
    return f"it is called {ours} here{_as_in(ours)}" if ours else ""


def _as_in(ours: str) -> str:
    return f", as in {_EXAMPLES[ours]}" if ours in _EXAMPLES else ""
