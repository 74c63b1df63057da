"""How far `dead retry` and `dead purge` are, and their end: a bar, a summary, Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from contextlib import suppress
from typing import Final, Self

from bridge.commands.layout import spell_number
from bridge.dead_letters.retry import Retried
from bridge.observe.log_fields import cut, escape

#: So many letters are between two lines of progress on a pipe.
_LINE_EVERY: Final = 2_000
_BAR: Final = 30
#: So many different causes are counted, and named.
_MAX_CAUSES: Final = 1_000
_MAX_NAMED: Final = 10
_ORDER: Final = ("retried", "failed", "refused", "gone")


class Progress:
    """Shows how many letters are done: a bar on a terminal, a line now and then on a pipe; on standard error."""

    def __init__(self, total: int, done: str) -> None:
        self._total = total
        self._done = done
        self._count = self._shown = 0
        self._is_terminal = sys.stderr.isatty()

    def add(self, count: int) -> None:
        """Count letters that are done."""
        self._count += count
        self._total = max(self._total, self._count)
        if self._is_terminal:
            full = _BAR * self._count // max(self._total, 1)
            share = 100 * self._count // max(self._total, 1)
            of = f"{spell_number(self._count)} of {spell_number(self._total)}"
            sys.stderr.write(f"\r[{'#' * full}{'.' * (_BAR - full)}] {share:3} %  {of} {self._done}\x1b[K")
            sys.stderr.flush()
        elif self._count // _LINE_EVERY > self._shown // _LINE_EVERY:
            self._shown = self._count
            print(f"{spell_number(self._count)} of {spell_number(self._total)} {self._done}", file=sys.stderr)

    def end(self) -> None:
        """Remove the bar."""
        if self._is_terminal and self._count:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


class Interrupt:
    """Ctrl-C: the letters that are on their way are finished, and no others are begun."""

    def __init__(self) -> None:
        self.is_set = False

    def __enter__(self) -> Self:
        """Take SIGINT."""
        with suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._set)
        return self

    def __exit__(self, *_: object) -> None:
        """Give SIGINT back."""
        with suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)

    def _set(self) -> None:
        self.is_set = True
        # The next one ends the command at once.
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)


class Tally:
    """The outcomes of all retries."""

    def __init__(self) -> None:
        self._outcomes: Counter[str] = Counter()
        self._causes: Counter[str] = Counter()
        self._messages = self._left_out = self._trimmed = 0

    @property
    def all_retried(self) -> bool:
        """Whether no letter is left of those that were meant."""
        return self._outcomes.total() == self._outcomes["retried"]

    @property
    def has_any(self) -> bool:
        """Whether there was any letter."""
        return bool(self._outcomes.total())

    def add(self, retried: Retried) -> None:
        """Count one."""
        self._outcomes[retried.outcome] += 1
        self._messages += retried.messages
        self._left_out += retried.left_out
        self._trimmed += retried.trimmed
        cause = f"{retried.outcome}: {retried.reason}: {retried.detail}"
        if retried.outcome in {"failed", "refused"} and (cause in self._causes or len(self._causes) < _MAX_CAUSES):
            self._causes[cause] += 1

    def add_gone(self, count: int) -> None:
        """Count letters that were not found."""
        self._outcomes["gone"] += count

    def print(self, *, with_causes: bool) -> None:
        """Print the summary."""
        if not self.has_any:
            print("no dead letters")
            return
        counts = self._outcomes
        shown = [f"{spell_number(counts[name])} {name}" for name in _ORDER if counts[name] or name == "retried"]
        written = f"{spell_number(self._messages)} message{'s' if self._messages != 1 else ''} written"
        before = f", {spell_number(self._left_out)} written before" if self._left_out else ""
        print(f"{', '.join(shown)}; {written}{before}")
        if self._trimmed:
            made = "letters have" if self._trimmed != 1 else "letters has"
            print(f"{spell_number(self._trimmed)} of the oldest {made} made room for those that failed again")
        if with_causes:
            for cause, count in self._causes.most_common(_MAX_NAMED):
                print(f"    {spell_number(count)} {escape(cut(cause))}")
            if len(self._causes) > _MAX_NAMED:
                print(f"    and {len(self._causes) - _MAX_NAMED} other causes")
