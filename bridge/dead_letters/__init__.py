"""The dead letters in Redis, the bridge's own and those of the workers: read, retried, deleted, exported."""
