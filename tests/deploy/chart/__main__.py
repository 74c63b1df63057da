"""`make chart`: lints and renders the chart for each value file, looks at the result, and writes the rendered files anew."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.deploy.chart import schemas, tools
from tests.deploy.chart.rendering import CHART, COPIES, KEDA, Rendering, documents, renderings
from tests.support.children import REPOSITORY


def main() -> int:
    """Return the exit code: 1 where the chart has a mistake, or a written file was another before."""
    try:
        helm, crds = tools.helm(), tools.crds()
    except tools.MissingTool as error:
        print(error, file=sys.stderr)
        return 1
    changed = [copy for original, copy in COPIES.items() if original.read_bytes() != copy.read_bytes()]
    for original, copy in COPIES.items():
        shutil.copyfile(original, copy)
    mistakes = []
    all_renderings = renderings()
    for each in all_renderings:
        mistakes += _lint(helm, each)
        mistakes += [f"{each.name}: {words}" for words in _mistakes_for_versions(helm, each, crds)]
        text = each.file(_template(helm, each, each.kube_version, hooks=not each.is_plain))
        if not each.target.exists() or each.target.read_text() != text:
            changed.append(each.target)
            each.target.write_text(text)
    mistakes += [f"{KEDA.name}: {words}" for words in schemas.custom_mistakes(documents(KEDA.read_text()), crds)]
    for words in mistakes:
        print(f"chart: {words}", file=sys.stderr)
    for path in changed:
        print(
            f"chart: {path.relative_to(REPOSITORY)} has changed: look at the difference, and commit it", file=sys.stderr
        )
    print(f"chart: {len(all_renderings)} value files, Kubernetes {schemas.OLDEST} and {schemas.NEWEST}")
    return 1 if mistakes or changed else 0


def _lint(helm: Path, rendering: Rendering) -> list[str]:
    done = subprocess.run(
        [helm, "lint", "--strict", "--quiet", CHART, "--values", rendering.values],
        capture_output=True,
        text=True,
        check=False,
    )
    # A `fail` of a template is a line of the log in a lint, and no failure.
    return [f"{rendering.name}: helm lint: {done.stdout}{done.stderr}"] if done.returncode or done.stderr else []


def _mistakes_for_versions(helm: Path, rendering: Rendering, crds: list[dict[str, Any]]) -> list[str]:
    found = []
    for version in (schemas.OLDEST, schemas.NEWEST):
        rendered = documents(_template(helm, rendering, version, hooks=True))
        found += [*schemas.mistakes(rendered, version), *schemas.custom_mistakes(rendered, crds)]
    return found


def _template(helm: Path, rendering: Rendering, version: str, *, hooks: bool) -> str:
    argv = [str(helm), "template", rendering.release, str(CHART), "--values", str(rendering.values)]
    argv += ["--kube-version", version, *([] if hooks else ["--no-hooks"])]
    done = subprocess.run(
        argv, stdout=subprocess.PIPE, text=True, check=False
    )  # helm's own words are on standard error
    if done.returncode:
        sys.exit(f"chart: helm does not render {rendering.values.relative_to(REPOSITORY)}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
