"""From an event to its messages: decoding, expressions, routes."""
