"""Those that look at each batch once it has its outcome: the log of events at `debug`, and the taps."""

from __future__ import annotations

from typing import Protocol

from bridge.model.accounting import Outcome
from bridge.model.batch import Batch


class Observer(Protocol):
    """Sees the batches of all sources of a process."""

    def written(self, batch: Batch, outcome: Outcome, *, redelivers: bool) -> None:
        """See a batch that has its outcome; a part of it may have been written before.

        `redelivers` says whether the broker redelivers an event with a token that was not acknowledged.
        """
        ...


class Observers:
    """The observers of all pipelines of one process; `present` is empty where nobody looks, and then nothing is called."""

    def __init__(self) -> None:
        self.present: tuple[Observer, ...] = ()

    def add(self, observer: Observer) -> None:
        """Let this one look from now on."""
        if observer not in self.present:
            self.present = (*self.present, observer)

    def remove(self, observer: Observer) -> None:
        """Let it look no more."""
        self.present = tuple(each for each in self.present if each is not observer)

    def written(self, batch: Batch, outcome: Outcome, *, redelivers: bool) -> None:
        """Show a batch to all of them."""
        for each in self.present:
            each.written(batch, outcome, redelivers=redelivers)
