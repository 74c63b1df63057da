"""The hooks of the site, which lie in .ci/ since no program needs them."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Final

from tests.support.children import REPOSITORY


def script(name: str) -> ModuleType:
    """Return .ci/NAME.py as a module."""
    spec = importlib.util.spec_from_file_location(f"ci_{name}", REPOSITORY / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_SITE: Final = script("site")
#: Files of pages that are still to come.
AWAITED: Final[tuple[str, ...]] = _SITE.AWAITED
#: The page of each file from outside docs/.
PAGES: Final[dict[str, str]] = _SITE.PAGES
