"""`${NAME}`, `${NAME:-fallback}`, `${file:/path}` and `${credential:name}` in parsed scalars."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bridge.config.diagnostics import WrongValue

#: A secret in a file is short; a bound keeps a wrong path (/dev/zero, a dump) from filling the memory.
MAX_FILE_BYTES: Final = 64 * 1024

_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)(\}?)")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_CREDENTIAL = re.compile(r"[A-Za-z0-9_@-][A-Za-z0-9_.@-]*")


@dataclass(frozen=True, slots=True)
class Piece:
    """One replaced reference: where it was in the text, and the value (a secret) that took its place."""

    start: int
    end: int
    value: str


@dataclass(frozen=True, slots=True)
class Unresolved:
    """One reference that could not be replaced; `offset` counts characters of the text."""

    offset: int
    problem: str
    hint: str


class Substitution:
    """Replaces references, with the environment it was given."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._files: dict[str, str] = {}

    def apply(self, text: str) -> tuple[str, list[Piece], list[Unresolved]]:
        """Return the text with its references replaced, the replaced pieces, and what could not be replaced.

        `$${` stands for a literal `${`. What was put in is never searched for references again.
        """
        pieces: list[Piece] = []
        unresolved: list[Unresolved] = []

        def replace(found: re.Match[str]) -> str:
            if found[0] == "$${":
                return "${"
            try:
                value = self._value(found[1], closed=bool(found[2]))
            except WrongValue as error:
                unresolved.append(Unresolved(found.start(), error.problem, error.hint))
                return ""
            pieces.append(Piece(found.start(), found.end(), value))
            return value

        return _REFERENCE.sub(replace, text), pieces, unresolved

    def _value(self, reference: str, *, closed: bool) -> str:
        if not closed:
            raise WrongValue("a ${ that is not closed", "write $${ for a literal ${")
        if reference.startswith("file:"):
            return self._file(reference.removeprefix("file:"))
        if reference.startswith("credential:"):
            return self._credential(reference.removeprefix("credential:"))
        if not (found := _VARIABLE.fullmatch(reference)):
            # The text is not quoted: it may be a secret that was written in the wrong place.
            raise WrongValue(
                "this is none of ${NAME}, ${NAME:-fallback}, ${file:/path} and ${credential:name}",
                "write $${ for a literal ${",
            )
        name, fallback = found[1], found[2]
        value = self._environ.get(name)
        # As in a shell, :- also covers a variable that is set and empty.
        if fallback is not None and not value:
            return fallback
        if value is None:
            raise WrongValue(f"the environment variable {name} is not set", f"set it, or write ${{{name}:-fallback}}")
        if any(0xD800 <= ord(char) <= 0xDFFF for char in value):
            raise WrongValue(f"the environment variable {name} is not UTF-8 text")
        return value

    def _credential(self, name: str) -> str:
        if not _CREDENTIAL.fullmatch(name):
            raise WrongValue("this is not the name of a credential", "a file's name of letters, digits and _ . - @")
        directory = self._environ.get("CREDENTIALS_DIRECTORY")
        if not directory:
            raise WrongValue(
                f"there is no credential {name}: CREDENTIALS_DIRECTORY is not set",
                "systemd sets it for a unit with LoadCredential=",
            )
        return self._file(f"{directory}/{name}")

    def _file(self, path: str) -> str:
        if not path.startswith("/") or "\0" in path:
            raise WrongValue("takes an absolute path", "as in ${file:/run/secrets/password}")
        if path not in self._files:
            self._files[path] = _read(path)
        return self._files[path]


def _read(path: str) -> str:
    try:
        # Not blocking: a pipe without a writer would keep the start waiting for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a path would block
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise WrongValue(f"{path} is not a file")
            body = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise WrongValue(f"{path} cannot be read: {error.strerror}") from None
    if len(body) > MAX_FILE_BYTES:
        raise WrongValue(f"{path} is larger than 64 KiB")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise WrongValue(f"{path} is not UTF-8 text") from None
    # One newline is the editor's; a second one may be the secret's own.
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\r\n") else text.removesuffix("\n")
