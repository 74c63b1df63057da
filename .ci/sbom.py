"""Write the software bill of materials of a release: `.ci/sbom.py FOLDER` makes FOLDER/dramatiq-bridge-VERSION.cdx.json.

One CycloneDX file holds each library of requirements/run.txt with its version, the hashes of all its files, its licence, and
the libraries that it needs. Hashes are in the lock only, licences and needs in installed packages only: two files of cyclonedx-py
are joined. The same lock gives the same bytes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT: Final = Path(__file__).resolve().parents[1]
LOCK: Final = ROOT / "requirements/run.txt"
_VERSION: Final = re.compile(r'^__version__.*= "(.+)"$', re.MULTILINE)
#: `name[extra]==1.2 ; marker \`, the first line of a library in the lock.
_PINNED: Final = re.compile(r"^(?P<pin>[A-Za-z0-9][\w.\[\],-]*==[^\s;]+) *(?:; (?P<marker>.*?))? *\\$", re.MULTILINE)


def main(folder: Path) -> int:
    """Write the file and print its name; return the exit code."""
    match = _VERSION.search((ROOT / "bridge/__init__.py").read_text(encoding="utf-8"))
    if match is None:
        raise SystemExit("sbom: bridge/__init__.py has no __version__")
    with tempfile.TemporaryDirectory() as work:
        bill = joined(*_read(Path(work)), match[1])
    text = json.dumps(bill, indent=2, sort_keys=True) + "\n"
    if errors := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        print(f"sbom: not valid: {errors}", file=sys.stderr)
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"dramatiq-bridge-{match[1]}.cdx.json"
    path.write_text(text, encoding="utf-8")
    print(f"{path}: {len(bill['components'])} libraries, valid CycloneDX {bill['specVersion']}")
    return 0


def joined(locked: dict[str, Any], installed: dict[str, Any], markers: dict[str, str], version: str) -> dict[str, Any]:
    """Return the bill: the libraries as they are installed, with the hashes of the lock, and the bridge of this version."""
    by_name = {_normal(each["name"]): each for each in installed["components"]}
    components = []
    for lock in locked["components"]:
        found = by_name[_normal(lock["name"])]
        if found["version"] != lock["version"]:
            raise SystemExit(f"sbom: {lock['name']} is {lock['version']} in the lock, {found['version']} installed")
        found["externalReferences"] = [*found.get("externalReferences", []), *lock["externalReferences"]]
        if marker := markers.get(_normal(lock["name"])):
            found["properties"] = [*found.get("properties", []), {"name": "python:marker", "value": marker}]
        components.append(found)
    bridge = installed["metadata"]["component"]
    bridge |= {"version": version, "purl": f"pkg:pypi/dramatiq-bridge@{version}"}
    kept = {each["bom-ref"] for each in (*components, bridge)}
    needs = [each for each in installed["dependencies"] if each["ref"] in kept]
    return {**installed, "components": components, "dependencies": needs}


def _read(work: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    # Every library is installed, also one that this Python does not need.
    text = LOCK.read_text(encoding="utf-8")
    unmarked = work / "run.txt"
    unmarked.write_text(_PINNED.sub(r"\g<pin> \\", text), encoding="utf-8")
    python = work / "venv/bin/python"
    _run(sys.executable, "-m", "venv", "--without-pip", str(work / "venv"))
    install = ("install", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", "-r", str(unmarked))
    _run(sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), *install)
    pinned = _PINNED.finditer(text)
    markers = {_normal(re.split(r"[\[=]", each["pin"])[0]): each["marker"] for each in pinned if each["marker"]}
    return _bill("requirements", str(LOCK)), _bill("environment", str(python)), markers


def _bill(*arguments: str) -> dict[str, Any]:
    options = ("--pyproject", str(ROOT / "pyproject.toml"), "--spec-version", "1.6", "--output-reproducible")
    printed = _run(sys.executable, "-m", "cyclonedx_py", *arguments, *options, "--output-format", "JSON", "-o", "-")
    bill: dict[str, Any] = json.loads(printed)
    return bill


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"sbom: {' '.join(command[:4])} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "dist")))
