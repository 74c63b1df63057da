"""The arguments by which a command finds a running bridge: `--config`, or `--admin` and `--token`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Final

from bridge.commands.admin_client import Address, AdminClient
from bridge.config import AdminSettings
from bridge.config.loading import load_admin
from bridge.config.substitution import Substitution
from bridge.errors import BridgeError, ConfigError, UsageError

#: The variable that holds the token where `--token` is not given.
TOKEN_VARIABLE: Final = "DRAMATIQ_BRIDGE_TOKEN"  # noqa: S105 - its name
_SERVICE: Final = "/run/dramatiq-bridge/admin.sock"
_DEFAULT: Final = str(AdminSettings.model_fields["listen"].default)


def find_daemon(arguments: argparse.Namespace, *, changes: bool = False) -> AdminClient:
    """Return a client of the bridge that the arguments name; without any, of the one at the usual address.

    A command that `changes` something needs the token of the file, if it has one.

    Raises:
        BridgeError: the file has no `admin:`.
        ConfigError: its `admin:` has mistakes, or the file can't be read.
        UsageError: an argument is wrong.
    """
    token = _given_token(arguments.token)
    if arguments.config is None:
        return AdminClient(_address(arguments.admin or _usual(), "--admin"), token)
    loaded = load_admin(arguments.config, Substitution(os.environ, allow_unset=True))
    settings, document = loaded.model.admin, loaded.document
    if settings is None:
        add = f"add these lines to it, and start the bridge again: `admin:`, `  listen: {_DEFAULT}`"
        without = "its bridge has no admin server, unless it was started with --admin: then give --admin here too"
        raise BridgeError(f"{arguments.config} has no `admin:`: {without}; or {add}")
    if not token and document.is_unset(("admin", "token")):
        # Of a file with a Unix socket the token is not asked for.
        if changes and settings.unix_path is None:
            raise ConfigError(document.unset(("admin", "token")))
    elif not token and settings.token is not None:
        token = settings.token.get_secret_value()
    return AdminClient(_address(settings.listen, f"{arguments.config}: admin.listen"), token)


def _usual() -> str:
    """Return the socket of the service that deploy/systemd has, where it runs, and else the default of `admin.listen`."""
    try:
        found = Path(_SERVICE).exists()
    except PermissionError:  # it is there, and hidden from this user
        found = True
    return f"unix:{_SERVICE}" if found else _DEFAULT


def _given_token(option: str | None) -> str:
    """Return the token of `--token` or of the environment; "" without one."""
    if option is None:
        return _checked(os.environ.get(TOKEN_VARIABLE, ""), TOKEN_VARIABLE)
    # As in the file: a process list shows ${NAME}, and no token.
    token, _, unresolved = Substitution(os.environ).apply(option)
    if unresolved:
        raise UsageError(f"--token: {unresolved[0]}")
    return _checked(token, "--token")


def _checked(token: str, name: str) -> str:
    if token and not (token.isascii() and token.isprintable()):
        raise UsageError(f"{name}: a token has printable ASCII characters only")
    return token


def _address(text: str, name: str) -> Address:
    try:
        return Address.parse(text)
    except UsageError as error:
        raise UsageError(f"{name} {error}") from None
