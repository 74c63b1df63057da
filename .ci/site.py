"""The hooks of mkdocs.yml: files from outside docs/ become pages, and every relative link is one between pages.

A file of the repository that is no page has no public address, and none is invented: a link to it becomes its path.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[1]
#: The page of each file that is not in docs/.
PAGES: Final = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "bench/README.md": "where-the-time-goes.md",
    "bench/results.md": "bench-results.md",
    "bench/scaling.md": "bench-scaling.md",
    "config/bridge.yaml": "bridge-yaml.md",
    "deploy/helm/dramatiq-bridge/README.md": "kubernetes.md",
    "deploy/runbook.md": "runbook.md",
    "tests/faults/results.md": "fault-matrix.md",
    "tests/interop/results.md": "interoperability.md",
}
#: What the search shows first of pages that have a word: guides before records, which name everything.
BOOSTS: Final = {"guarantees.md": 2.0, "operation.md": 2.0} | dict.fromkeys(
    ("changelog.md", "bench-results.md", "bench-scaling.md", "fault-matrix.md", "interoperability.md"),
    0.5,
)
#: Pages whose files are still to come: left out of the site, and links to them become their paths.
AWAITED: Final[tuple[str, ...]] = ()
#: Each is a chapter of one page.
EXAMPLES: Final = ("config/examples", "examples.md")
#: They are in the site as they are.
ASSETS: Final = ("config/bridge.schema.json", "tests/faults/soak.png")

#: A fenced block, a span of code (each kept as it is), or an inline link.
_PART: Final = re.compile(
    r"(?P<fence>^ *(?P<marks>```+|~~~+).*?^ *(?P=marks)[`~]* *$)|(?P<code>(?P<ticks>`+).+?(?P=ticks))"
    r"|\[(?P<text>(?:[^\[\]`]|`[^`]*`)*)\]\((?P<target>[^()\s]+)\)",
    re.DOTALL | re.MULTILINE,
)
_EXTERNAL: Final = re.compile(r"[a-z]+:")
#: A picture that has another one for dark colours: the theme shows the one that fits. A forge shows this one.
_LIGHT: Final = re.compile(r"!(\[[^\]]*\])\(([^()\s]+)-light\.png\)")
_LOG: Final = get_plugin_logger("site")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Leave out of the navigation the pages that are still to come."""
    config.nav = _without({_page(path) for path in AWAITED if not (ROOT / path).exists()}, config.nav)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures that lie outside docs/."""
    for path, uri in PAGES.items():
        if (ROOT / path).exists() or path not in AWAITED:
            files.append(File.generated(config, uri, content=_text(path)))
    folder, uri = EXAMPLES
    examples = sorted((ROOT / folder).glob("*.yaml"))
    chapters = "\n".join(f"## {each.name}\n\n{_yaml(each)}" for each in examples)
    files.append(File.generated(config, uri, content=f"# Examples\n\nThese files are in `{folder}`.\n\n{chapters}"))
    for path in ASSETS:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, files: Files, **_: Any) -> str:
    """Return the page with its links as mkdocs resolves them: from page to page."""
    uri = page.file.src_uri
    page.meta["search"] = {"boost": BOOSTS.get(uri, 1.0)}
    own = next((path for path, each in PAGES.items() if each == uri), f"docs/{uri}")

    def rewritten(match: re.Match[str]) -> str:
        text, target = match["text"], match["target"]
        if target is None or _EXTERNAL.match(target) or target.startswith("#"):
            return match[0]
        path, _, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(own), path))
        to, anchor = _place(path, anchor)
        found = files.get_file_from_path(to)
        if found is not None and found.inclusion is not InclusionLevel.EXCLUDED:
            return f"[{text}]({posixpath.relpath(to, posixpath.dirname(uri) or '.')}{anchor and '#' + anchor})"
        if not (ROOT / path).exists() and path not in AWAITED:
            _LOG.warning("%s links to %s, which does not exist", own, target)
        plain = text.replace("`", "")
        return f"`{path}`" if path.endswith(plain.rstrip("/")) else f"{text} (`{path}`)"

    return _LIGHT.sub(_either, _PART.sub(rewritten, markdown))


def _either(match: re.Match[str]) -> str:
    text, path = match[1], match[2]
    return f"!{text}({path}-light.png#only-light)!{text}({path}-dark.png#only-dark)"


def _place(path: str, anchor: str) -> tuple[str, str]:
    """Return the page of a file, and the anchor in it."""
    folder, uri = EXAMPLES
    if posixpath.dirname(path) == folder:
        return uri, posixpath.basename(path).replace(".", "")
    return _page(path), anchor


def _page(path: str) -> str:
    return PAGES.get(path) or path.removeprefix("docs/")


def _text(path: str) -> str:
    file = ROOT / path
    if file.suffix == ".yaml":
        return f"# {file.name}, with all settings\n\nThis is the file `{path}`.\n\n{_yaml(file)}"
    return file.read_text(encoding="utf-8")


def _yaml(file: Path) -> str:
    return f"```yaml\n{file.read_text(encoding='utf-8')}```\n"


def _without(pages: set[str], nav: Any) -> Any:
    """Return the navigation without some pages."""
    if isinstance(nav, list):
        return [each for each in (_without(pages, item) for item in nav) if each]
    if isinstance(nav, dict):
        return {name: kept for name, value in nav.items() if (kept := _without(pages, value))}
    return None if nav in pages else nav
