"""Looks at Redis and at every broker before the start, for `check --connect`: nothing is consumed, changed or taken over."""
