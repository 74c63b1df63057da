"""The fault matrix: one experiment per row, in which something is broken under load and a ledger tells what was lost.

`python -m tests.faults` runs it and prints the table. `rows_*.py` hold the rows; to add one, write a function there.
"""
