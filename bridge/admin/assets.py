"""The page at `/` and its files: read once, the same for everybody, and nothing of them comes from elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from bridge.admin.answers import Answer

_DIRECTORY: Final = Path(__file__).with_name("page")
#: The addresses of all files but the page itself begin so.
FILES: Final = "/page/"
_INDEX: Final = "index.html"
_KINDS: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: Scripts and styles come from files of this server alone, and nobody shows the page inside of his own.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final[Mapping[str, str]] = {
    # A browser asks whether its copy is still the newest: a bridge may have been upgraded.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class Asset:
    """One file."""

    path: Path

    @cached_property
    def body(self) -> bytes:
        """The content, read at the first use."""
        return self.path.read_bytes()

    @cached_property
    def tag(self) -> str:
        """The value of ETag."""
        return f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'

    def answer(self, known: str) -> Answer:
        """Answer a request; `known` is its If-None-Match."""
        headers = {**_HEADERS, "ETag": self.tag}
        if self.tag in known.split(", "):
            return Answer.of(304, b"", _KINDS[self.path.suffix], headers)
        return Answer.of(200, self.body, _KINDS[self.path.suffix], headers)


def assets() -> dict[str, Asset]:
    """Return every file by the path of its address: the page itself at `/`, the others below `/page/`."""
    files = [Asset(path) for path in sorted(_DIRECTORY.iterdir()) if path.suffix in _KINDS]
    return {"/" if asset.path.name == _INDEX else f"{FILES}{asset.path.name}": asset for asset in files}
