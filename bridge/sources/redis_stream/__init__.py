"""Redis Streams, read by a consumer group."""
