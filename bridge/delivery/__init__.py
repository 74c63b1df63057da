"""From a source to the sink: deliver, hold back, isolate."""
