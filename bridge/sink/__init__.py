"""The sink: where messages are written, in one atomic step per batch."""

from bridge.sink.redis_sink import RedisSink

__all__ = ["RedisSink"]
