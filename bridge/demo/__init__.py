"""The demo: starts brokers, a Dramatiq worker and a bridge, and publishes events; `dramatiq-bridge demo` runs it.

Its modules need the extra `demo`; only the guard needs nothing but the standard library.
"""

from typing import Final

#: A Redis list outside Dramatiq's namespace. Actors append an element per call, the screen shows and removes it; each
#: element is `{"actor", "args", "kwargs", "effect"}` as JSON.
EXECUTIONS: Final = "demo:executions"
