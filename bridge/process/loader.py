"""The configuration of a bridge that runs, from its file: loaded and checked alike at the start and at each reload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bridge import config
from bridge.config import AdminSettings, Config, tls
from bridge.config.files import at_rest
from bridge.errors import Diagnostic
from bridge.observe import logs
from bridge.routing.compiler import call_mistakes, compile_routes
from bridge.routing.routes import RouteTable


@dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration without mistakes, its compiled routes by source, and how to log by it."""

    config: Config
    log_format: logs.Format | None
    log_level: str
    tables: Mapping[str, RouteTable] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Loader:
    """Loads the file at `path`; the command line wins: over the format and level of the log, and over `admin.listen`."""

    path: str
    log_format: logs.Format | None = None
    log_level: str | None = None
    admin: AdminSettings | None = None

    def load(self) -> Prepared:
        """Return the present content of the file. Takes a while; in any thread.

        Raises:
            ConfigError: the file has mistakes, or cannot be read.
        """
        tables: dict[str, RouteTable] = {}

        def check(loaded: Config) -> list[Diagnostic]:
            compiled, mistakes = compile_routes(loaded)
            tables.update(compiled)
            # A file of TLS that can't be read is waited for, since certificates are rotated; a password can't come later.
            return [*mistakes, *call_mistakes(loaded), *tls.mistakes(loaded, passwords_only=True)]

        with at_rest():
            loaded = config.load(self.path, check=check)
        if self.admin is not None:
            settings = (loaded.admin or self.admin).model_copy(update={"listen": self.admin.listen})
            loaded = loaded.model_copy(update={"admin": settings})
        level = self.log_level or loaded.log.level
        return Prepared(loaded, self.log_format or loaded.log.format, level, tables)
