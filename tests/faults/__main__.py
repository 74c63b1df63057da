"""Runs the matrix: `python -m tests.faults --rows 'redis-*' --runs 3`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from tests.faults import table
from tests.faults.experiment import Result, run
from tests.faults.rows import Row, every_row
from tests.faults.stage import Brokers


def main() -> int:
    """Run the rows that were asked for; 1 if one does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--rows", default="*", metavar="PATTERN", help="names as in 'redis-*,bridge-kill'")
    parser.add_argument("--short", action="store_true", help="the short form of each row, without those of minutes")
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="how often each row is run")
    parser.add_argument(
        "--path", choices=["fast", "library", "both"], default="both", help="how AMQP and MQTT are read"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="how long a row that measures growth lasts")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    parser.add_argument("--command", help="what the table says it was printed by")
    parser.add_argument("--list", action="store_true", help="list the rows and run none")
    options = parser.parse_args()
    rows = [row for row in every_row(options.rows) if not (options.short and row.only_long)]
    if options.list:
        for row in rows:
            print(f"{row.name:<26} {row.what}")
        return 0
    if not rows:
        parser.error(f"no row is called {options.rows}")
    groups: list[list[Result]] = []
    # The publishers' libraries report each outage; the ledger does so as well.
    logging.disable()
    with Brokers() as brokers:
        for row in rows:
            for fast in _ways(row, options.path):
                settings = {"fast": fast, "short": options.short, "seconds": options.seconds}
                groups.append([run(row, brokers, **settings) for _ in range(options.runs)])
                print("  ".join(table.cells(groups[-1])), flush=True)
                for result in groups[-1]:
                    for note in result.notes:
                        print(f"  - {note}", flush=True)
                    if result.failures:
                        print(result.report(), flush=True)
    print("\n" + table.text([table.cells(group) for group in groups]))
    if options.markdown:
        command = options.command or " ".join(["python -m tests.faults", *sys.argv[1:]])
        options.markdown.write_text(table.markdown(groups, command))
    failed = sorted({group[0].row.name for group in groups if any(one.failures for one in group)})
    print(f"\n{len(rows)} rows, {len(failed)} failed{': ' + ', '.join(failed) if failed else ''}")
    return 1 if failed else 0


def _ways(row: Row, path: str) -> list[bool]:
    if not row.has_two_paths:
        return [True]
    return {"fast": [True], "library": [False], "both": [True, False]}[path]


if __name__ == "__main__":
    sys.exit(main())
