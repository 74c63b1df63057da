"""The results of tests as a JUnit file, which CI systems read."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Final

from bridge.dry_run.suite import CaseResult

#: Characters that no XML file may hold.
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(suites: Mapping[str, Sequence[CaseResult]]) -> bytes:
    """Return the XML of the results, by the configuration's path."""
    root = ET.Element("testsuites")
    for name, results in suites.items():
        suite = ET.SubElement(root, "testsuite", _counts(name, results))
        for result in results:
            attributes = {"name": _clean(result.name), "classname": _clean(name), "file": _clean(result.file)}
            timing = {"line": str(result.line), "time": f"{result.seconds:.6f}"}
            case = ET.SubElement(suite, "testcase", {**attributes, **timing})
            if result.differences:
                failure = ET.SubElement(case, "failure", {"message": _clean(result.differences[0])})
                failure.text = _clean("\n".join([*result.differences, *result.context]))
    body: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return body + b"\n"


def _counts(name: str, results: Sequence[CaseResult]) -> dict[str, str]:
    failed = sum(bool(result.differences) for result in results)
    seconds = sum(result.seconds for result in results)
    return {"name": _clean(name), "tests": str(len(results)), "failures": str(failed), "time": f"{seconds:.6f}"}


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
