"""`${NAME}`, `${NAME:-fallback}`, `${file:/path}` and `${credential:name}` in parsed scalars, and the text they give."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bridge.config.files import UnreadableFile, read_file, whole
from bridge.errors import Diagnostic, InvalidValue
from bridge.model.json_limits import is_encodable

#: A secret in a file is short; a bound keeps a wrong path (/dev/zero, a dump) from filling the memory.
MAX_FILE_BYTES: Final = 64 * 1024

#: Texts for a reference without a value, where that is allowed: the first one that its key takes.
PLACEHOLDERS: Final = (
    *("unset", "1", "1000000", "10s", "1h", "1MiB", "true", "50%", "/unset"),
    *("rediss://unset", "amqps://unset", "mqtts://unset"),
    "unset" * 8,  # as long as a token
    "$0",
)

#: How expressions begin that were written with braces.
_FIELDS: Final = ("payload.", "headers.", "meta.")
_LITERAL: Final = "write $${ for a literal ${"
_AS_MAPPING: Final = (
    f"""an expression that begins with a mapping is written as '$({{"name": payload.name}})'; {_LITERAL}"""
)
_OUTSIDE: Final = ("file:", "credential:")
_MAPPING = re.compile(r"[\w\"')\]]:[ \t]")
_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)(\}?)")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_CREDENTIAL = re.compile(r"[A-Za-z0-9_@-][A-Za-z0-9_.@-]*")


class Substituted(str):
    """Text that came from `${...}` in an unquoted scalar: it may become a number where one is expected."""

    __slots__ = ()


def coerced(value: object) -> object:
    """Return the number or the boolean that a substituted text spells; any other value as it is."""
    if isinstance(value, Substituted):
        if value in {"true", "false"}:
            return value == "true"
        if value.removeprefix("-").isdecimal() and len(value) < 20:
            return int(value)
    return value


def unmarked(value: object) -> object:
    """Return a value in which every Substituted, also inside lists and mappings, is an ordinary text."""
    if isinstance(value, Substituted):
        return str(value)
    if isinstance(value, dict):
        return {key: unmarked(item) for key, item in value.items()}
    return [unmarked(item) for item in value] if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class Piece:
    """One replaced reference: where it was in the text, and the value (a secret) that took its place.

    Of an `unset` one the value is a placeholder. That of a `fallback` stands in the file, and is no secret.
    """

    start: int
    end: int
    value: str
    unset: bool = False
    fallback: bool = False


#: No secrets, and words of every output.
_WORDS: Final = frozenset({"", "true", "false", "null"})


def possible_secrets(pieces: Iterable[Piece]) -> Iterator[str]:
    """Yield the values that may be secret: neither words of every output, nor texts that stand in the file."""
    for piece in pieces:
        if not piece.unset and not piece.fallback and piece.value not in _WORDS:
            yield piece.value


def refilled(text: str, pieces: Sequence[Piece], placeholder: str) -> str:
    """Return `text` with its pieces, and with `placeholder` in the place of each unset one."""
    parts, end = [], 0
    for piece in pieces:
        parts += [text[end : piece.start].replace("$${", "${"), placeholder if piece.unset else piece.value]
        end = piece.end
    return "".join([*parts, text[end:].replace("$${", "${")])


def _is_mapping(reference: str) -> bool:
    """Tell whether the text behind `${` is the inside of a mapping of the expressions' language."""
    if reference.startswith(_OUTSIDE) or ":-" in reference:
        return False
    return reference.startswith(("'", '"')) or bool(_MAPPING.search(reference))


class _Unset(InvalidValue):
    """A reference without a value on this machine."""


class Substitution:
    """Replaces references, with the environment it was given.

    With `allow_unset`, a placeholder takes the place of one that has no value on this machine: a variable, a file or a
    credential. `unset` collects these references.
    """

    def __init__(self, environ: Mapping[str, str], *, allow_unset: bool = False) -> None:
        self._environ = environ
        self._allow_unset = allow_unset
        self.unset: list[str] = []
        self._files: dict[str, str] = {}

    def apply(self, text: str) -> tuple[str, list[Piece], list[Diagnostic]]:
        """Return the text with its references replaced, the replaced pieces, and the references that have no value.

        `$${` stands for a literal `${`. Replaced pieces are never searched for references again.
        """
        pieces: list[Piece] = []
        unresolved: list[Diagnostic] = []

        def replace(reference: re.Match[str]) -> str:
            if reference[0] == "$${":
                return "${"
            try:
                value = self._value(reference[1], closed=bool(reference[2]))
            except InvalidValue as error:
                if self._allow_unset and isinstance(error, _Unset):
                    self.unset.append(reference[1])
                    pieces.append(Piece(reference.start(), reference.end(), PLACEHOLDERS[0], unset=True))
                    return PLACEHOLDERS[0]
                unresolved.extend(diagnostic.below((), reference.start()) for diagnostic in error.diagnostics)
                return ""
            is_fallback = reference[1].partition(":-")[1:] == (":-", value)
            pieces.append(Piece(reference.start(), reference.end(), value, fallback=is_fallback))
            return value

        return _REFERENCE.sub(replace, text), pieces, unresolved

    def _value(self, reference: str, *, closed: bool) -> str:
        # The text is not quoted: it may be a secret that was written in the wrong place.
        if _is_mapping(reference):
            raise InvalidValue("${ begins a substitution", _AS_MAPPING)
        if not closed:
            is_outside = reference.isupper() or reference.startswith(_OUTSIDE)
            raise InvalidValue("a ${ that is not closed", _LITERAL if is_outside else _AS_MAPPING)
        if reference.startswith("file:"):
            return self._file(reference.removeprefix("file:"))
        if reference.startswith("credential:"):
            return self._credential(reference.removeprefix("credential:"))
        if not (variable := _VARIABLE.fullmatch(reference)):
            hint = "write $${ for a literal ${"
            if reference.startswith(_FIELDS):
                hint = f"an expression has no braces, as in ${reference.partition('.')[0]}.name; {hint}"
            raise InvalidValue("this is none of ${NAME}, ${NAME:-fallback}, ${file:/path} and ${credential:name}", hint)
        name, fallback = variable[1], variable[2]
        value = self._environ.get(name)
        # As in a shell, :- also covers a variable that is set and empty.
        if fallback is not None and not value:
            return fallback
        if value is None:
            # Variables are written in capitals.
            hint = f"; an expression has no braces: ${name}" if name.islower() else ""
            raise _Unset(f"the environment variable {name} is not set", f"set it, or write ${{{name}:-fallback}}{hint}")
        if not is_encodable(value):
            raise InvalidValue(f"the environment variable {name} is not UTF-8 text")
        return value

    def _credential(self, name: str) -> str:
        if not _CREDENTIAL.fullmatch(name):
            raise InvalidValue("this is not the name of a credential", "a file's name of letters, digits and _ . - @")
        directory = self._environ.get("CREDENTIALS_DIRECTORY")
        if not directory:
            raise _Unset(
                f"there is no credential {name}: CREDENTIALS_DIRECTORY is not set",
                "systemd sets it for a unit with LoadCredential=; in a shell, export it: the folder of the credentials",
            )
        return self._file(f"{directory}/{name}")

    def _file(self, path: str) -> str:
        if not path.startswith("/") or "\0" in path:
            raise InvalidValue("takes an absolute path", "as in ${file:/run/secrets/password}")
        if path not in self._files:
            self._files[path] = _read(path)
        return self._files[path]


class _NoSubstitution(Substitution):
    def apply(self, text: str) -> tuple[str, list[Piece], list[Diagnostic]]:
        return text, [], []


#: Replaces nothing: a file of data holds no references.
NO_SUBSTITUTION: Final[Substitution] = _NoSubstitution({})


def _read(path: str) -> str:
    try:
        body = read_file(path, MAX_FILE_BYTES)
    except UnreadableFile as error:
        raise _Unset(f"{whole(path)} {error}") from None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise InvalidValue(f"{whole(path)} is not UTF-8 text") from None
    # Only the last newline is the editor's; a second one may belong to the secret.
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\r\n") else text.removesuffix("\n")
