"""The lines that the demo prints."""

from __future__ import annotations

import io
import re

from bridge.commands.demo import fold
from bridge.demo.generator import Sent
from bridge.demo.screen import Row, Screen


def test_no_line_is_wider_than_80_columns() -> None:
    """Long topics, bodies, arguments, reasons and errors are shortened or folded."""
    out, long = io.StringIO(), "a-very-long-word/" * 20
    screen, event = Screen(out), Sent("ovens", "pub/sub", long, long, [])
    screen.executed(event, "raise_alarm", [long])
    screen.executed(None, "raise_alarm", [long, 1])
    screen.waiting(event, long)
    screen.dead(event, long, f"no JSON: {long} {'words ' * 30}")
    text = out.getvalue() + fold(
        f"dramatiq-bridge: the bridge ended by itself; its last lines:\n  {long}\n  {'x' * 500}"
    )
    assert max(map(len, text.splitlines())) == 80
    assert re.match(r"[\d:]{8} pub/sub a-very-long-word.*\.\.\. -> raise_alarm\(\"a-very-l\.\.\.\n", text)
    assert text.count("x") == 500


def test_different_numbers_are_not_called_equal() -> None:
    """The summary says "equal" only if each source's events all ran or are dead letters."""
    right, wrong = io.StringIO(), io.StringIO()
    Screen(right).summary({"ovens": Row(3, 3, 2, 2, 1), "audit": Row(2, 2, 2, 2, 0)})
    # The totals are equal although the sources' numbers differ.
    Screen(wrong).summary({"ovens": Row(3, 3, 3, 2, 0), "audit": Row(2, 2, 2, 3, 0)})
    assert "equal" in right.getvalue()
    assert "equal" not in wrong.getvalue()
    assert re.search(r"^total +5 +5 +4 +4 +1$", right.getvalue(), re.MULTILINE)
