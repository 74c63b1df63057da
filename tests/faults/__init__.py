"""The fault matrix: one experiment per row, in which something is broken under load and a ledger tells what was lost.

`python -m tests.faults` runs it and prints the table. A row is a function in one of the files `rows_*.py`. It breaks
something and mends it again; everything else is done around it, and checked after it (experiment.py):

    @row("redis-kill", says=(Says("sink.unavailable"),))
    def kill(stage: Stage) -> None:
        "Redis is killed (kill -9) and, some seconds later, started again from its append-only file."
        stage.sink.kill()
        stage.wait(1, 2, long_s=10)
        stage.sink.start()

The names of its settings are explained at `Row` (rows.py), those of the stage (proxies, settings of the bridge, several
bridges) at `Stage`. A new kind of source is a line in sources.py. What a row is for is shown by a mistake that turns it
red: see mutations.py.
"""
