"""The demo: brokers, a worker, a bridge and events, all its own; `dramatiq-bridge demo` runs it.

Its modules need the extra `demo`; the guard alone does with the standard library.
"""

from typing import Final

#: The Redis list, outside Dramatiq's namespace, to which the actors append what they do and from which the screen takes
#: it; each element is `{"actor", "args", "kwargs", "says"}` as JSON.
EXECUTIONS: Final = "demo:executions"
