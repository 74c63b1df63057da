"""Names that YAML would read as something else stay text, and what installs and then fails is refused."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.deploy.chart.helm.conftest import Refusal, Template
from tests.deploy.chart.helm.test_refusals import IMAGE, ORDERS, SHARED

CONFIG: Final = {"sources": {"events": ORDERS}}


def _texts(value: Any, key: str = "") -> list[Any]:
    if isinstance(value, dict):
        return [text for name, below in value.items() for text in _texts(below, name)]
    if isinstance(value, list):
        return [text for below in value for text in _texts(below, key)]
    named = key in {"name", "serviceName", "serviceAccountName", "priorityClassName"} or key.startswith("app.")
    return [value] if named else []


@pytest.mark.parametrize("name", ["2024", "1e5", "true", "null"])
def test_a_name_stays_text(name: str, template: Template) -> None:
    """No name and no label is a number, a boolean or null."""
    own = {"serviceAccountName": name, "priorityClassName": name, "existingConfigMap": name, "nameOverride": name}
    secrets = [{"name": "a", "secretName": name}]
    found = _texts(template({"image": IMAGE, **own, "secrets": secrets}))
    assert name in found
    assert {type(each) for each in found} == {str}


def test_a_dot_is_no_part_of_a_services_name(template: Template) -> None:
    """A Service refuses dots, which a release may have."""
    found = template({"image": IMAGE, "config": CONFIG, "fullnameOverride": "shop.orders"})
    assert {each["metadata"]["name"] for each in found} == {"shop-orders", "shop-orders-check"}


REFUSED: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "digit": ({"fullnameOverride": "2024"}, "a Service's name begins with a letter"),
    "comments": ({"config": "# nothing\n"}, "config.sources: is missing"),
    "size": ({"extraFiles": {"a": "x" * (1 << 20)}}, "a ConfigMap holds 1 MiB"),
    "file": (
        {"config": {"sources": {"events": {**ORDERS, "tls": {"key": "${CREDENTIALS_DIRECTORY}/tls.key"}}}}},
        "add {name: tls.key, secretName: ...}",
    ),
    "pod-name": ({"extraEnv": [{"name": "POD_NAME", "value": "x"}]}, "extraEnv: the chart sets POD_NAME itself"),
    "checksum": ({"podAnnotations": {"checksum/config": "x"}}, "the chart sets checksum/config itself"),
    "host": ({"adminHost": "127.0.0.1"}, "at '/adminHost'"),
    "number": ({"extraEnv": [{"name": "A", "value": 1}]}, "at '/extraEnv/0/value'"),
    "escaped-password": (
        {"config": {"sources": {"events": {**ORDERS, "password": "$${hunter2}"}}}},
        "events.password: a secret does not belong",
    ),
    "escaped": (
        {"config": {"sources": {"events": {**SHARED, "client_id": "$${POD_NAME}"}}}, "replicas": 2},
        "only one is right",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_the_value(name: str, refusal: Refusal) -> None:
    """In words, before anything is installed."""
    values, words = REFUSED[name]
    assert words in refusal({"image": IMAGE, "config": CONFIG, **values})
