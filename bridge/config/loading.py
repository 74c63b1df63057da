"""From a file to a Config, or to every mistake that is in it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from bridge.config import checks
from bridge.config.admin import AdminSettings
from bridge.config.cases import Case, CaseFile
from bridge.config.data import with_data
from bridge.config.defaults import share
from bridge.config.document import Document
from bridge.config.draft import draft_of
from bridge.config.files import UnreadableFile, base_directory, read_file
from bridge.config.inclusion import include
from bridge.config.manifest import ManifestError, read_manifest
from bridge.config.models import Config, Origin
from bridge.config.reader import MAX_BYTES, parse
from bridge.config.substitution import PLACEHOLDERS, Substitution
from bridge.config.validation_errors import first_choices, translate
from bridge.config.wording import bounded_hints
from bridge.errors import ConfigError, Diagnostic, LocatedDiagnostic
from bridge.garbage import without_collector
from bridge.observe.masking import masked

Check = Callable[[Config], list[Diagnostic]]
_Model = TypeVar("_Model", bound=BaseModel)
#: How long a program that writes a file into a pipe, such as the shell's `<(...)`, may take.
PIPE_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Loaded(Generic[_Model]):
    """The content of a file, its places, and the references without a value on this machine."""

    model: _Model
    document: Document
    unset: Sequence[str]


def load(
    path: str | os.PathLike[str], *, environ: Mapping[str, str] = os.environ, check: Check | None = None
) -> Config:
    """Return the configuration in the file at `path`.

    `environ` holds the values of `${NAME}`. `check` finds further mistakes; of a file with mistakes it gets the routes
    that are valid by themselves. Its diagnostics are placed in the file like all others.

    Raises:
        ConfigError: with every mistake in the file; no content of a file raises anything else.
    """
    return load_with_places(path, Substitution(environ), check).model


def load_with_places(
    path: str | os.PathLike[str], substitution: Substitution, check: Check | None = None
) -> Loaded[Config]:
    """Return the configuration as `load` does, and where each part of it stands."""
    # Of 5,000 routes, which stay, the collector would walk through all again and again.
    with without_collector(), bounded_hints():
        return _load(os.fspath(path), substitution, check)


def load_cases(
    path: str | os.PathLike[str],
    substitution: Substitution,
    check: Callable[[Sequence[Case]], Sequence[Diagnostic]],
) -> Loaded[CaseFile]:
    """Return the tests in a file of tests, and where they stand. `check` finds further mistakes.

    Raises:
        ConfigError: with every mistake in the file.
    """
    with without_collector(), bounded_hints():
        document = parse(_read(os.fspath(path)), os.fspath(path), substitution)
        if isinstance(document.value, list):
            document.nest("tests")  # a list alone: what `dead show --as-test >> FILE` makes of a new file
        cases = _validate(document, CaseFile)
        for diagnostic in check(cases.tests) if cases is not None else ():
            document.add(diagnostic)
        if cases is None or not document.flawless:
            raise ConfigError(document.diagnostics())
        return Loaded(cases, document, substitution.unset)


class AdminSection(BaseModel):
    """The section `admin` of a file, whatever else stands there."""

    admin: AdminSettings | None = None


def load_admin(path: str | os.PathLike[str], substitution: Substitution) -> Loaded[AdminSection]:
    """Return the section `admin` alone: a running bridge is also found by a file into which mistakes have come since.

    A token without a value on this machine is left out.

    Raises:
        ConfigError: the file can't be read, or this section has mistakes.
    """
    file = os.fspath(path)
    document = parse(_read(file), file, substitution)
    if not document.complete:
        raise ConfigError(document.diagnostics())
    section = None
    if document.is_unset(("admin", "listen")):
        document.unset(("admin", "listen"))
    else:
        raw: Any = document.value.get("admin") if isinstance(document.value, dict) else None
        if isinstance(raw, dict) and document.is_unset(("admin", "token")):
            raw = {key: value for key, value in raw.items() if key != "token"}
        try:
            section = AdminSection.model_validate({"admin": raw}, context={"secrets": set()})
        except ValidationError as error:
            _add_all(translate(error, AdminSection), document)
    if section is None:
        # The mistakes elsewhere are those of `check`.
        mistakes = document.diagnostics()
        raise ConfigError([mistake for mistake in mistakes if mistake.where.startswith("admin")] or mistakes)
    return Loaded(section, document, substitution.unset)


def _load(file: str, substitution: Substitution, check: Check | None) -> Loaded[Config]:
    document = parse(_read(file), file, substitution)
    include(document, substitution)
    share(document)
    config = _validate(document, Config)
    if config is not None:
        config = with_data(_with_manifest(config, document), document)
    if check is not None and document.complete and not document.is_hopeless:
        draft, places = (config, None) if config is not None else draft_of(document)
        if config is None and isinstance(draft.manifest, str):
            draft = _with_manifest(draft, document)
        if config is None:
            draft = with_data(draft, document)
        for diagnostic in check(draft):
            placed = _in_file(diagnostic, places, document)
            if _is_certain(placed, document):
                document.add(placed)
    if config is None or not document.flawless:
        # Not raised while handling pydantic's error: a chained error would show the values.
        raise ConfigError(document.diagnostics())
    content = document.text.encode("utf-8", "surrogatepass")
    fingerprint = hashlib.sha256(b"".join((content, *document.digests))).hexdigest()
    path = os.path.abspath(file)  # noqa: PTH100 - resolves no link
    config = config.with_origin(Origin(path, fingerprint, time.time(), _masked_conditions(config, document)))
    return Loaded(config, document, substitution.unset)


def _masked_conditions(config: Config, document: Document) -> dict[str, str]:
    """Return the conditions with substituted values by their routes' names, and `***` for each value, which may be a secret."""
    conditions = {}
    for index, route in enumerate(config.routes):
        _, pieces = document.substituted.get(("routes", index, "when"), ("", []))
        if pieces and route.when is not None:
            values = {piece.value for piece in pieces if not piece.unset and not piece.fallback}
            conditions[str(route.name)] = masked(route.when, values)
    return conditions


def _with_manifest(config: Config, document: Document) -> Config:
    if config.manifest is None or document.is_unset(("manifest",)):
        if config.manifest is None and config.enforce_manifest:
            document.add(
                Diagnostic(("enforce_manifest",), "there is no manifest to enforce", "add manifest: FILE", at_key=True)
            )
        return config
    try:
        return config.with_manifest(read_manifest(base_directory(document.file) / config.manifest))
    except ManifestError as error:
        document.add(Diagnostic(("manifest",), str(error)))
        return config


def _read(file: str) -> bytes:
    try:
        return read_file(file, MAX_BYTES, pipe_timeout_s=PIPE_TIMEOUT_S)
    except UnreadableFile as error:
        message = str(error) if str(error).startswith("cannot") else f"the file {error}"
    raise ConfigError([LocatedDiagnostic(file, 1, 1, "", message)])


def _validate(document: Document, model: type[_Model]) -> _Model | None:
    if not document.complete:
        return None
    if document.value is None:
        hint = "a file of tests has tests" if model is CaseFile else "a configuration has at least sources"
        document.add_at(0, (), "the file is empty", hint)
        return None
    pieces = [piece for _, pieces in document.substituted.values() for piece in pieces]
    secrets = {piece.value for piece in pieces if piece.value and not piece.unset}
    certain = (diagnostic for diagnostic in checks.check(document) if _is_certain(diagnostic, document))
    if model is Config and not _add_all(certain, document):
        return None
    untried = iter(PLACEHOLDERS[1:] if any(piece.unset for piece in pieces) else ())
    while True:
        try:
            # By alias only: a `source:` in a route would otherwise pass for `from:`.
            valid = model.model_validate(document.value, by_alias=True, by_name=False, context={"secrets": secrets})
        except ValidationError as error:
            placeholder = next(untried, None)
            if placeholder is not None and _refill(document, error, model, placeholder):
                continue
            _add_all(translate(error, model), document)
            return None
        return valid if document.flawless else None


def _refill(document: Document, error: ValidationError, model: type[BaseModel], placeholder: str) -> bool:
    """Put a placeholder into each unset reference whose value was refused; False if none was."""
    choices = first_choices(error, model)
    return document.refill(
        {mistake.path: choices.get(mistake.path, placeholder) for mistake in translate(error, model)}
    )


def _is_certain(diagnostic: Diagnostic, document: Document) -> bool:
    """Tell whether a diagnostic does not come from a placeholder, which stands for any value.

    In a test it counts all the same: no test can run with a placeholder for its source or its file. So it does in a `when`:
    its placeholder is a number, and a route whose condition can't be compiled would take no event, without a word.
    """
    path = diagnostic.path
    return diagnostic.at_key or path[:1] == ("tests",) or path[2:] == ("when",) or not document.is_unset(path)


def _add_all(diagnostics: Iterator[Diagnostic], document: Document) -> bool:
    """Place the mistakes; return False once there are so many that nobody reads more."""
    for diagnostic in diagnostics:
        document.add(diagnostic)
        if document.is_hopeless:
            return False
    return True


def _in_file(diagnostic: Diagnostic, places: list[int] | None, document: Document) -> Diagnostic:
    """Return a diagnostic of a check as one of the file: a draft numbers its routes anew, and models strip `when`."""
    path, offset = diagnostic.path, diagnostic.offset
    if path[:1] != ("routes",):
        return diagnostic
    if places is not None:
        path = ("routes", places[int(path[1])], *path[2:])
    if path[2:] == ("when",) and path in document.values and offset is not None:
        value: Any = document.value
        text = value["routes"][path[1]]["when"]
        offset += len(text) - len(text.removeprefix("$").lstrip())
    return replace(diagnostic, path=path, offset=offset)
