"""YAML with positions: reads a file into a Document, and reads on behind a syntax error where it can."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from bridge.config.document import Document
from bridge.config.event_reader import EventReader, Unreadable
from bridge.config.substitution import Substitution
from bridge.config.syntax import SyntaxFault, explain, repair

# libyaml is ten times as fast; where it is missing, the parser in Python gives the same events.
LOADER: Final[type[Any]] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_BYTES: Final = 1024 * 1024
#: 10,000 routes of the size that fits into such a file have fewer.
MAX_VALUES: Final = 200_000

_NOT_ALLOWED = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def parse(
    body: bytes, file: str, substitution: Substitution, loader: type[Any] = LOADER, *, max_values: int = 0
) -> Document:
    """Parse a file of at most `max_values`, or MAX_VALUES. Raises nothing: its mistakes are in the document."""
    try:
        text = body.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        document = Document(body[: error.start].decode(), file)
        document.complete = False
        document.add_at(len(document.text), (), "the file is not UTF-8 text")
        return document
    document = Document(text, file)
    if control := _NOT_ALLOWED.search(text):
        document.complete = False
        document.add_at(control.start(), (), f"a control character (U+{ord(control[0]):04X}) is not allowed here")
    else:
        _read(document, substitution, loader, max_values or MAX_VALUES)
    document.source.incomplete = not document.complete
    return document


def _read(document: Document, substitution: Substitution, loader: type[Any], max_values: int) -> None:
    """Fill the document; a text with a syntax error is repaired once, and read anew from its beginning."""
    text = document.text
    repaired: dict[int, SyntaxFault] = {}
    while True:
        document.clear()
        reader = EventReader(document, substitution, repaired, max_values)
        faults: list[SyntaxFault] = []
        try:
            reader.read(text, loader)
        except Unreadable:
            document.complete = False
        except yaml.YAMLError as error:
            fault = explain(error, text)
            if fault.repairable and not repaired:
                text = repair(text, fault, repaired, loader)
                continue
            document.complete = False
            if not reader.cuts.explain(document.text, fault.index):
                faults.append(fault)
        for fault in (*repaired.values(), *faults):
            if fault.index not in reader.reported:
                document.add_at(fault.index, (), fault.message, fault.hint)
        return
