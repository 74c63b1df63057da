"""The tools of the page for a bridge that is none: they note the orders, and answer as they are told."""

from __future__ import annotations

from bridge.model.workshop import RetryAnswer, ShownLetter, ShownLetters, Trial, Tried, WorkshopError


class FakeWorkshop:
    """Notes its orders; `fault` is raised instead of an answer."""

    def __init__(self) -> None:
        self.kept = [
            ShownLetter(id="1795759200000-0", reason="decode", error="not JSON", source="orders", topic="order.new")
        ]
        self.orders: list[object] = []
        self.fault: WorkshopError | None = None

    async def newest(self, limit: int, *, with_contents: bool) -> ShownLetters:
        """Note it."""
        self._note(("newest", limit, with_contents))
        return ShownLetters(self.kept[:limit], len(self.kept))

    async def letter(self, letter_id: str, *, with_contents: bool) -> ShownLetters:
        """Note it."""
        self._note(("letter", letter_id, with_contents))
        return ShownLetters([each for each in self.kept if each.id == letter_id], 1)

    async def retry(self, letter_id: str) -> RetryAnswer:
        """Note it."""
        self._note(("retry", letter_id))
        return RetryAnswer("retried", 1)

    async def try_event(self, trial: Trial) -> Tried:
        """Note it."""
        self._note(trial)
        return Tried("none", [])

    def _note(self, order: object) -> None:
        if self.fault is not None:
            raise self.fault
        self.orders.append(order)
