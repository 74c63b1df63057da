"""A publisher with a steady rate, in a process of its own: `python -m bench.offer KIND URL EVENTS RATE`.

Prints when each event was handed to the socket, in `time.monotonic_ns()`, one per line: `seq` counts them from 0.
"""

from __future__ import annotations

import sys
import time

from bench.backlogs import BACKLOGS
from bench.load import bodies


def main(kind: str, url: str, events: int, rate: int) -> None:
    """Publish; no confirmation is waited for, and what is late is sent at once."""
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
    publisher.acknowledge()
    publisher.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
