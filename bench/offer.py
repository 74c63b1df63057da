"""A publisher with a steady rate, run as a separate process: `python -m bench.offer KIND URL EVENTS RATE`.

Prints one line per event, in the order of `seq`: the `time.monotonic_ns()` at which it was handed to the socket.
"""

from __future__ import annotations

import sys
import time

from bench.backlogs import BACKLOGS
from bench.load import bodies


def main(kind: str, url: str, events: int, rate: int) -> None:
    """Publish without waiting for confirmations; an event that is late is sent at once."""
    publisher = BACKLOGS[kind].publisher_class(url)
    sent = []
    began = time.monotonic_ns() + 100_000_000
    for seq, body in enumerate(bodies(events)):
        due = began + seq * 1_000_000_000 // rate
        while (now := time.monotonic_ns()) < due:
            time.sleep((due - now) / 1e9)
        sent.append(now)
        publisher.send([body])
        publisher.collect()
    print("\n".join(map(str, sent)))
    publisher.await_confirmations()
    publisher.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
