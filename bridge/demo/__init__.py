"""The demo: starts brokers, a Dramatiq worker and a bridge, and publishes events; `dramatiq-bridge demo` runs it.

Its modules need the extra `demo`; only the guard needs nothing but the standard library.
"""

from typing import Final

#: A list in the Redis of the events. Actors append an element per call, the ledger removes it; each element is
#: `{"actor", "args"}` as JSON.
EXECUTIONS: Final = "demo:executions"
#: The source of each actor's events.
SOURCES: Final = {"raise_alarm": "ovens", "record": "ovens", "welcome": "signups", "keep": "audit", "ship": "orders"}
#: The demo prints no line that is wider.
WIDTH: Final = 80
