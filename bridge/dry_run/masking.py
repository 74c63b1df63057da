"""Masks the values of `${...}` in everything that a dry run shows: they may be secrets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from bridge.config.document import Document
from bridge.config.substitution import possible_secrets
from bridge.config.tables import is_data
from bridge.dry_run.wording import visible
from bridge.errors import KeyPath
from bridge.observe.masking import MASK, masked

#: The parts of a route, and of a step of its `then`, that may hold a secret; its names and topics are shown, as `check` does.
_MASKED: Final = frozenset({"when", "args", "kwargs", "options", "foreach", "eta", "key", "message_id"})


class Masking:
    """The substituted values of a configuration and of its tests."""

    def __init__(self, documents: Iterable[Document]) -> None:
        values = {value for document in documents for value in _substituted(document)}
        # In a line of output they stand as they are, or as JSON writes them.
        forms = {json.dumps(value, ensure_ascii=False)[1:-1] for value in values}
        self._forms = values | forms | {*map(visible, forms)}

    def text(self, text: str) -> str:
        """Return a text without the values, and without the beginning of one that was cut."""
        return masked(text, self._forms)

    def value(self, value: Any) -> Any:
        """Return a value of JSON without the values; an expression may make a key of one, too."""
        if isinstance(value, dict):
            return {self.text(key): self.value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, str):
            return self.text(value)
        return MASK if self.text(str(value)) == MASK else value


def _substituted(document: Document) -> Iterator[str]:
    for path, (_, pieces) in document.substituted.items():
        if _may_be_secret(path):
            yield from possible_secrets(pieces)


def _may_be_secret(path: KeyPath) -> bool:
    return path[0] == "tests" or is_data(path) or (path[0] == "routes" and not _MASKED.isdisjoint(path[2:5]))
