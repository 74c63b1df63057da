"""dramatiq-bridge: events from AMQP, MQTT and Redis become Dramatiq messages in Redis."""

__version__ = "0.2.0"
