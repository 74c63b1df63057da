"""All keys of a Redis as text that a person can read and compare, and back into another Redis, of any version."""

from __future__ import annotations

import base64
from typing import Any

import redis

Keys = dict[str, dict[str, Any]]


def read_keys(redis_client: redis.Redis) -> Keys:
    """Return each key with its type, its value, and where it has one its lifetime in ms."""
    client: Any = redis_client
    keys: Keys = {}
    for key in sorted(client.keys("*")):
        kind = client.type(key).decode()
        keys[_text(key)] = {"type": kind, "value": _READERS[kind](client, key)}
        if (lifetime := client.pttl(key)) > 0:
            keys[_text(key)]["lifetime_ms"] = lifetime
    return keys


def write_keys(client: redis.Redis, keys: Keys) -> None:
    """Write the keys that `read_keys` has returned; a lifetime begins anew."""
    for key, one in keys.items():
        _WRITERS[one["type"]](client, key, one["value"])
        if "lifetime_ms" in one:
            client.pexpire(key, one["lifetime_ms"])


def _text(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _bytes(value: Any) -> bytes:
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else str(value).encode()


def _read_hash(client: Any, key: bytes) -> list[Any]:
    return [[_text(name), _text(value)] for name, value in sorted(client.hgetall(key).items())]


def _read_stream(client: Any, key: bytes) -> dict[str, Any]:
    groups = []
    for group in client.xinfo_groups(key):
        pending = client.xpending_range(key, group["name"], "-", "+", 10_000) if group["pending"] else []
        rows = [[one["message_id"].decode(), one["consumer"].decode(), one["times_delivered"]] for one in pending]
        groups.append({"name": group["name"].decode(), "last_id": group["last-delivered-id"].decode(), "pending": rows})
    return {
        "last_id": client.xinfo_stream(key)["last-generated-id"].decode(),
        "groups": groups,
        "entries": [
            [_text(entry_id), [_text(word) for pair in fields.items() for word in pair]]
            for entry_id, fields in client.xrange(key)
        ],
    }


_READERS: Any = {
    "string": lambda client, key: _text(client.get(key)),
    "list": lambda client, key: [_text(value) for value in client.lrange(key, 0, -1)],
    "zset": lambda client, key: [[_text(name), score] for name, score in client.zrange(key, 0, -1, withscores=True)],
    "hash": _read_hash,
    "stream": _read_stream,
}


def _write_stream(client: Any, key: str, value: dict[str, Any]) -> None:
    for entry_id, fields in value["entries"]:
        client.execute_command("XADD", key, entry_id, *map(_bytes, fields))
    client.execute_command("XSETID", key, value["last_id"])
    for group in value["groups"]:
        client.xgroup_create(key, group["name"], group["last_id"])
        for entry_id, consumer, times in group["pending"]:
            claimed = {"force": True, "justid": True, "retrycount": times}
            client.xclaim(key, group["name"], consumer, 0, [entry_id], **claimed)


_WRITERS: Any = {
    "string": lambda client, key, value: client.set(key, _bytes(value)),
    "list": lambda client, key, value: client.rpush(key, *map(_bytes, value)),
    "zset": lambda client, key, value: client.zadd(key, {_bytes(name): score for name, score in value}),
    "hash": lambda client, key, value: client.hset(key, mapping={_bytes(name): _bytes(one) for name, one in value}),
    "stream": _write_stream,
}
