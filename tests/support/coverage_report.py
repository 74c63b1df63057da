"""The report on coverage at the end of a whole run: the total, and the files below it (a plugin; see `make test`)."""

from __future__ import annotations

import io
import os
from typing import Final

import coverage
import pytest

_MAX_FILES: Final = 35


@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print it before pytest-cov says whether the total is high enough; the processes' data are combined by then."""
    measured = coverage.Coverage(data_file=os.environ["COVERAGE_FILE"])
    measured.load()
    report = io.StringIO()
    total = measured.report(file=report, sort="cover", precision=1)
    head, *lines = report.getvalue().splitlines()
    below = [line for line in lines if line.startswith("bridge/") and float(line.split()[-1].rstrip("%")) < total]
    terminalreporter.write_sep("=", "coverage of lines and branches")
    terminalreporter.write_line(head)
    for line in below[:_MAX_FILES]:
        terminalreporter.write_line(line)
    terminalreporter.write_line(f"{len(below)} files are below the total.")
    terminalreporter.write_line(lines[-1])
